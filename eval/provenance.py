"""Committed figures as JSON, with where they come from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from simcse_kit.evaluation import PACKAGES, hardware
from simcse_kit.evaluation import provenance as _provenance

__all__ = ["PACKAGES", "hardware", "provenance", "write"]

_HERE = Path(__file__).resolve().parent


def provenance() -> dict[str, Any]:
    """What belongs beside every number in ``eval/results``."""
    script = Path(sys.argv[0]).resolve().with_suffix("")
    module = ".".join(script.relative_to(_HERE.parent).parts) if _HERE in script.parents else script
    return _provenance(f"python -m {module}")


def write(path: Path, figures: dict[str, Any], claim: str) -> None:
    """Figures with the sentence they stand for and their provenance, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"claim": claim, **figures, "made": provenance()}
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(f"written to {path}", file=sys.stderr)
