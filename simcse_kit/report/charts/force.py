"""Pictures of a sweep of the temperature: where the force lies, and on how many negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simcse_kit.evaluation import BAND_NAMES
from simcse_kit.report.charts.chart import Chart, legend
from simcse_kit.report.svg import TEXT, bare, canvas, paint, to_svg

if TYPE_CHECKING:
    from simcse_kit.evaluation import TemperatureSweep

_ROW = 26.0  # points of height a temperature takes
_STRENGTHS = (1.0, 0.62, 0.34, 0.14)  # of a band's paint, the hardest first


def force_bands(found: TemperatureSweep) -> Chart:
    """A bar a temperature: the shares of the force by hardness of the negatives."""
    at = found.forces.at
    figure = canvas(130 + _ROW * len(at))
    axis = bare(figure.subplots())
    starts = [0.0] * len(at)
    handles: list[Any] = []
    for (band, _), strength in zip(BAND_NAMES.items(), _STRENGTHS, strict=True):
        shares = [100 * force.shares[band].value for force in at]
        handles.append(
            axis.barh(range(len(at)), shares, 0.72, starts, color=paint("accent"), alpha=strength)
        )
        starts = [start + share for start, share in zip(starts, shares, strict=True)]
    names = [f"{force.temperature:g}" for force in at]
    axis.set_yticks(range(len(at)), names)
    axis.set_ylim(len(at) - 0.4, -0.6)
    axis.set_xlim(0, 100)
    axis.set_ylabel("Temperature τ")
    axis.set_xlabel("% of the force on an anchor's negatives")
    even = found.forces.even
    legend(
        axis, handles, [f"{name}: {even[band]:.1%} of them" for band, name in BAND_NAMES.items()]
    )
    rows = tuple(
        (name, *(f"{force.shares[band].value:.1%}" for band in BAND_NAMES))
        for name, force in zip(names, at, strict=True)
    )
    title = "Where the force lies, by hardness"
    text = "; ".join(f"τ {name}: {hardest} on the hardest" for name, hardest, *_ in rows)
    svg = to_svg(figure, "force-bands", title, f"A bar a temperature. {text}")
    return Chart(svg, title, ("τ", *BAND_NAMES.values()), rows)


def force_spread(found: TemperatureSweep) -> Chart:
    """Effective negatives, as a share of all, and the positive's probability, by temperature."""
    at, places = found.forces.at, range(len(found.forces.at))
    figure = canvas(250)
    axis = bare(figure.subplots())
    axis.grid(axis="y", color=paint("rule"), linewidth=0.8)
    negatives = found.forces.negatives
    effective = [100 * force.effective_negatives.value / negatives for force in at]
    positive = [100 * force.positive.value for force in at]
    handles = [
        axis.plot(places, effective, color=paint("accent"), marker="o", markersize=5)[0],
        axis.plot(places, positive, color=paint("model-3"), marker="s", markersize=5)[0],
    ]
    names = [f"{force.temperature:g}" for force in at]
    axis.set_xticks(places, names, fontsize=TEXT)
    axis.set_ylim(0, 104)
    axis.set_xlabel("Temperature τ")
    legend(axis, handles, ["effective negatives, % of all", "p of the positive, %"])
    rows = tuple(
        (name, f"{force.effective_negatives.value:.1f}", f"{force.positive.value:.3f}")
        for name, force in zip(names, at, strict=True)
    )
    title = "How many negatives have it, and how far the positive is"
    text = "; ".join(f"τ {n}: {count} effective negatives, p {p}" for n, count, p in rows)
    svg = to_svg(figure, "force-spread", title, f"Of {negatives:.4g} negatives. {text}")
    return Chart(svg, title, ("τ", "Effective negatives", "p of positive"), rows)
