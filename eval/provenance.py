"""Committed figures as JSON, with where they come from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from simcse_kit.provenance import PACKAGES, hardware
from simcse_kit.provenance import provenance as _provenance

__all__ = ["PACKAGES", "hardware", "provenance", "write"]


def provenance() -> dict[str, Any]:
    """What belongs beside every number in ``eval/results``."""
    return _provenance(f"python eval/{Path(sys.argv[0]).name}")


def write(path: Path, figures: dict[str, Any]) -> None:
    """Figures with their provenance, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures | {"made": provenance()}, indent=2) + "\n")
    print(f"written to {path}", file=sys.stderr)
