"""Clusters of near-duplicates as one self-contained page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcse_kit.evaluation import provenance
from simcse_kit.report.page import Section, page, render, text_of
from simcse_kit.report.words import minus, paths_note, setting_rows

if TYPE_CHECKING:
    from simcse_kit.corpus import Cluster


def dedupe_page(figures: Mapping[str, Any], clusters: Sequence[Cluster]) -> str:
    """The page: what was found in a sentence, the largest clusters, and how they were made.

    Args:
        figures: `Deduped.figures`. clusters: `Deduped.clusters`.
    """
    made = provenance(Path(sys.argv[0]).name)
    how = {"setting_rows": setting_rows, "paths_note": paths_note, "made": made}
    return page(
        f"What {Path(figures['corpus']).name} repeats",
        [
            Section(
                "clusters",
                "The largest clusters",
                render("dedupe/clusters.html", clusters=clusters, minus=minus),
            ),
            Section("made", "How this was made", render("dedupe/made.html", found=figures, **how)),
        ],
        eyebrow="simcse-kit dedupe",
        lead=render("dedupe/lead.html", found=figures),
        footer=f"Made by simcse-kit {made['versions']['simcse-kit']} on {made['date']}."
        " This file asks for nothing from the network.",
        styles=[text_of("report/report.css")],
    )
