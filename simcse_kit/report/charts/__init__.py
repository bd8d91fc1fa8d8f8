"""The charts of a report: each an SVG with its numbers beside it, for who cannot see it."""

from simcse_kit.evaluation.sts_comparison import AVERAGE
from simcse_kit.report.charts.by_task import differences, scores
from simcse_kit.report.charts.chart import Chart, label, model_paint, numbered
from simcse_kit.report.charts.course import curves
from simcse_kit.report.charts.space import cosine_limits, densities, plane, spectrum

__all__ = [
    "AVERAGE",
    "Chart",
    "cosine_limits",
    "curves",
    "densities",
    "differences",
    "label",
    "model_paint",
    "numbered",
    "plane",
    "scores",
    "spectrum",
]
