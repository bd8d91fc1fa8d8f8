"""A sweep of the temperature as one self-contained page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simcse_kit.evaluation import (
    provenance,
    temperature_cells,
    temperature_notes,
    temperature_reading,
)
from simcse_kit.report import charts
from simcse_kit.report.page import Section, page, render, text_of
from simcse_kit.report.words import paths_note, setting_rows

if TYPE_CHECKING:
    from simcse_kit.evaluation import TemperatureSweep


def temperature_page(found: TemperatureSweep) -> str:
    """The page: what was found in a sentence, two pictures, the figures, and how they were made."""
    made = provenance(Path(sys.argv[0]).name)
    pictures = [charts.force_bands(found), charts.force_spread(found)]
    cells = temperature_cells(found)
    how = {"setting_rows": setting_rows, "paths_note": paths_note, "made": made, "found": found}
    return page(
        f"What a temperature does with {Path(found.model).name}",
        [
            Section("force", "The force", render("temperature/force.html", pictures=pictures)),
            Section("figures", "The figures", render("temperature/figures.html", cells=cells)),
            Section("made", "How this was made", render("temperature/made.html", **how)),
        ],
        eyebrow="simcse-kit temperature",
        lead=render(
            "temperature/lead.html",
            reading=temperature_reading(found),
            notes=temperature_notes(found)[1:],
        ),
        footer=f"Made by simcse-kit {made['versions']['simcse-kit']} on {made['date']}."
        " This file asks for nothing from the network.",
        styles=[text_of("report/report.css")],
    )
