"""Pictures: that they are drawn whole from what a run leaves behind, and refuse what has none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from simcse_kit.errors import InputError
from simcse_kit.evaluation import plots

HISTORY: list[dict[str, Any]] = [
    {"step": 0, "eval_spearman": 60.0, "eval_alignment": 0.1, "eval_uniformity": -0.7},
    {"step": 10, "loss": 2.0, "alignment": 0.2, "uniformity": -1.5, "learning_rate": 1e-5},
    {"step": 125, "eval_spearman": 80.0, "eval_alignment": 0.2, "eval_uniformity": -2.4},
    {"step": 250, "eval_spearman": 78.0, "eval_alignment": 0.21, "eval_uniformity": -2.5},
    {"train_runtime": 12.0},
]


def check_png(path: Path) -> np.ndarray:
    picture = image.imread(path)
    assert picture.shape[0] > 300
    assert picture.shape[1] > 800
    assert picture[..., :3].std() > 0.02  # something is drawn
    return picture


def texts(figure: Any) -> str:
    """Everything written on the figure."""
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_text())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were saved, for a look inside."""
    figures: list[Any] = []
    save = plots.save_picture

    def keep(figure: Any, path: Any) -> Path:
        figures.append(figure)
        return save(figure, path)

    monkeypatch.setattr(plots, "save_picture", keep)
    return figures


def test_training_curve_shows_dev_scores_and_the_best_step(
    tmp_path: Path, drawn: list[Any]
) -> None:
    path = plots.training_curve(HISTORY, tmp_path / "run" / "curve.png")
    assert path == tmp_path / "run" / "curve.png"
    check_png(path)
    written = texts(drawn[0])
    for expected in ("Dev Spearman", "Alignment", "Uniformity", "60.00 → 80.00", "step 125"):
        assert expected in written
    assert "Training loss" in written and "training batches" not in written
    (line,) = [line for line in drawn[0].axes[0].lines if len(line.get_xdata()) == 3]
    assert list(line.get_xdata()) == [0, 125, 250]
    assert list(line.get_ydata()) == [60.0, 80.0, 78.0]


def test_held_out_pairs_choose_a_step_too(tmp_path: Path, drawn: list[Any]) -> None:
    history = [{"step": step, "eval_recall@1": value} for step, value in ((0, 5.0), (4, 9.0))]
    assert plots.best_step([*history, {"step": 8, "eval_recall@1": 7.0}]) == 4
    check_png(plots.training_curve([*history, {"step": 4, "loss": 1.0}], tmp_path / "curve.png"))
    assert "Dev recall@1" in texts(drawn[0]) and "Training loss" in texts(drawn[0])


def test_training_curve_without_a_dev_set_shows_the_batches(
    tmp_path: Path, drawn: list[Any]
) -> None:
    check_png(plots.training_curve(HISTORY[1:2], str(tmp_path / "curve.png")))
    assert "Training loss" in texts(drawn[0])
    assert "training batches" in texts(drawn[0])
    broken = [{"step": 5, "loss": float("nan")}, {"loss": 3.0}]
    with pytest.raises(InputError, match="nothing to draw"):
        plots.training_curve(broken, tmp_path / "none.png")


def test_plane_labels_every_model_without_overlap(tmp_path: Path, drawn: list[Any]) -> None:
    results = {
        "before": (0.10, -0.70, 57.0),
        "after": (0.18, -2.30, 73.1),
        "after, second seed": (0.181, -2.31, 73.4),
        "after, third seed": (0.179, -2.30, 72.8),
    }
    check_png(plots.alignment_uniformity_plane(results, tmp_path / "plane.png"))
    labels = [t for t in drawn[0].axes[0].texts if t.get_text() != "better"]
    assert [t.get_text() for t in labels] == [f"{n}  {v[2]:.1f}" for n, v in results.items()]
    boxes = [t.get_window_extent() for t in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame = drawn[0].axes[0].get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_plane_of_one_model_and_of_none(tmp_path: Path) -> None:
    check_png(plots.alignment_uniformity_plane({"one": (0.2, -2.0, 70.0)}, tmp_path / "one.png"))
    with pytest.raises(InputError, match="no model"):
        plots.alignment_uniformity_plane({}, tmp_path / "none.png")
    with pytest.raises(InputError, match="collapsed has a value that is not finite"):
        plots.alignment_uniformity_plane(
            {"collapsed": (0.0, 0.0, float("nan"))}, tmp_path / "x.png"
        )


@pytest.mark.parametrize(
    ("low", "high", "bands"),
    [
        (0, 5, ["0 to 1", "1 to 2", "2 to 3", "3 to 4", "4 to 5"]),
        (1, 5, ["1 to 2", "2 to 3", "3 to 4", "4 to 5"]),
        (0, 1, ["0 to 0.2", "0.8 to 1"]),
    ],
)
def test_densities_count_every_pair_once(
    tmp_path: Path, drawn: list[Any], low: float, high: float, bands: list[str]
) -> None:
    rng = np.random.default_rng(0)
    gold = np.concatenate([[low, high], rng.uniform(low, high, 300).round(1)])
    cosines = np.clip(gold / high + rng.normal(0, 0.2, 302), -1, 1)
    check_png(plots.cosine_densities(cosines, gold, tmp_path / "d.png", "a model"))
    written = texts(drawn[0])
    assert all(band in written for band in bands)
    assert "a model" in written
    counts = [int(line[4:]) for line in written.splitlines() if line.startswith("n = ")]
    assert sum(counts) == 302


def test_densities_with_empty_and_constant_bands(tmp_path: Path, drawn: list[Any]) -> None:
    cosines, gold = [0.1, 0.5, 0.5, 0.9], [0.0, 2.5, 2.6, 5.0]
    check_png(plots.cosine_densities(cosines, gold, tmp_path / "d.png"))
    assert texts(drawn[0]).count("n = 0") == 2


@pytest.mark.parametrize(
    ("cosines", "gold", "message"),
    [
        ([0.1, 0.2], [1.0], "one cosine and one gold score"),
        ([], [], "one cosine and one gold score"),
        ([0.1, float("nan")], [1.0, 2.0], "finite"),
        ([0.1, 0.2], [3.0, 3.0], "Every gold score is 3"),
    ],
)
def test_densities_of_nothing_are_refused(
    tmp_path: Path, cosines: list[float], gold: list[float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plots.cosine_densities(cosines, gold, tmp_path / "d.png")


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"curve\.png cannot be written"):
        plots.training_curve(HISTORY, tmp_path / "file" / "curve.png")


def test_no_global_matplotlib_state_is_touched(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums(), plt.get_backend()
    plots.training_curve(HISTORY, tmp_path / "curve.png")
    assert (plt.get_fignums(), plt.get_backend()) == before


@pytest.mark.parametrize("count", [2, 50])
def test_plane_of_a_run_draws_all_its_steps_and_names_some(
    tmp_path: Path, drawn: list[Any], count: int
) -> None:
    share = np.linspace(0, 1, count)
    points = {
        f"step {number}": (0.16 + 0.1 * part, -2 - part, 57 + 18 * part)
        for number, part in enumerate(share)
    }
    named = ("step 0", f"step {count - 1}")
    check_png(
        plots.alignment_uniformity_plane(points, tmp_path / "run.png", score="dev", labelled=named)
    )
    axis = drawn[0].axes[0]
    assert len(axis.collections[0].get_offsets()) == count
    labels = [text for text in axis.texts if text.get_text().startswith("step")]
    assert [text.get_text() for text in labels] == ["step 0  57.0", f"step {count - 1}  75.0"]
    # no label lies on a point, of those without one too
    for x, y in axis.transData.transform(axis.collections[0].get_offsets()):
        assert not any(text.get_window_extent().contains(x, y) for text in labels)
    written = texts(drawn[0])
    assert "Alignment may rise while" in written.replace("\n", " ") and "Average" not in written


@pytest.mark.parametrize(
    ("value", "short"), [(74.104, "74.10"), (-2.8, "-2.80"), (0.0044, "0.0044"), (0.0, "0.00")]
)
def test_a_loss_close_to_zero_is_not_shown_as_zero(value: float, short: str) -> None:
    assert plots._short(value) == short
