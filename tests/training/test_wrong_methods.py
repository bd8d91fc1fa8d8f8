"""Methods whose parts do not go together: one sentence that names the setting, nothing written.

A case is what is set, the file that is trained on, and what the sentence must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from simcse_kit.commands.cli import app
from simcse_kit.objectives import InfoNCE
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.views import View

FILES = {
    "texts.txt": "".join(f"the man plays song {i}\na dog runs {i}\n" for i in range(8)),
    "pairs.csv": "anchor,positive\n" + "".join(f"a man {i},a boy {i}\n" for i in range(8)),
    "triplets.csv": "anchor,positive,negative\n"
    + "".join(f"a man {i},a boy {i},a cat {i}\n" for i in range(8)),
    "labels.csv": "text,label\n" + "".join(f"a man {i},{i % 2}\n" for i in range(8)),
    "scores.csv": "sentence1,sentence2,score\n"
    + "".join(f"a man {i},a boy {i},{i % 6}\n" for i in range(8)),
    "words.tsv": "big\tlarge\n",
    "odd.tsv": "big\n",
    "own.py": """
from pydantic import Field
from simcse_kit.objectives import Objective
from simcse_kit.parts import PartSettings
from simcse_kit.views import View

class Unwritten(Objective):
    pass

class Written(Objective):
    def forward(self, batch):
        return batch.anchors.mean()

class Bare(Written):
    class Settings(PartSettings):
        share: float

class Weighed(Written):
    class Settings(PartSettings):
        weight: float = 1.0

class Settled(Written):
    Settings = dict

class Wishful(Written):
    NEEDS = frozenset({"moods"})

class Hard(Written):
    NEEDS = frozenset({"negatives"})

class Queued(Written):
    NEEDS = frozenset({"queue"})

class Upper(View):
    def __call__(self, ids, lengths, draws):
        return ids, lengths

class Loose:
    pass
""",
}


@dataclass(frozen=True)
class Case:
    """What is set, and what the complaint must hold."""

    name: str
    settings: str
    words: tuple[str, ...]
    data: str = "texts.txt"

    @property
    def arguments(self) -> list[str]:
        return [word for each in self.settings.split() for word in ("--set", each)]


def case(name: str, settings: str, *words: str, data: str = "texts.txt") -> Case:
    return Case(name, settings, words, data)


MOMENTUM = "keys=momentum"
CASES = [
    # names
    case("unknown objective", "objective=infonce", "did you mean 'info_nce'"),
    case("unknown view", "anchor_view=delete", "anchor_view", "did you mean 'deletion'"),
    case("unknown projection", "projection=linear", "unknown projection", "mlp, tanh"),
    case("unknown negatives", "negatives=all", "unknown negatives 'all'", "noise"),
    case("setting of another part", "objective=cosent temperature=0.1", "no setting 'temperature'"),
    case("part of another kind", "objective=own:Upper", "no objective", "own:Bare"),
    case("a class that is no part", "anchor_view=own:Loose", "no view", "own:Upper"),
    case("no such module", "objective=nowhere.parts:X", "no module 'nowhere'", "PYTHONPATH"),
    case("no such class", "negatives=own:Noise", "own has no 'Noise'", "objectives.Negatives"),
    case("no module at all", "objective=:X", "package.module:Name"),
    case("own class unfinished", "objective=own:Unwritten", "no forward", "write"),
    case("own setting without default", "objective=own:Bare", "'share' has no default"),
    case("own setting of a name taken", "objective=own:Weighed", "'weight'", "recipes"),
    case("own settings of another kind", "objective=own:Settled", "PartSettings"),
    case("need that no batch has", "objective=own:Wishful", "'moods'", "labels"),
    case("weight of the objective", "objective={name:~cosent,weight:~2}", "auxiliaries"),
    # objectives and rows
    case("labels lacking", "objective=supervised_contrastive", "labels", "text and label"),
    case("scores lacking", "objective=cosent", "scores", "sentence1, sentence2"),
    case("labels unused", "", "nothing from labels", "--column text=", data="labels.csv"),
    case("scores unused", "", "nothing from scores", "anchor=sentence1", data="scores.csv"),
    case("hard negatives lacking", "objective=own:Hard", "hard negatives", "simcse-kit mine"),
    case(
        "hard negatives unused",
        "objective=align_uniform",
        *("nothing from hard negatives", "--column positive=positive"),
        data="triplets.csv",
    ),
    case(
        "scores beyond the scale",
        "objective=cosine_mse",
        *("scores.csv", "objective.highest"),
        data="scores.csv",
    ),
    case(
        "correlation of two rows",
        "auxiliaries=[decorrelation] per_device_train_batch_size=2",
        *("decorrelation", "3 or more"),
    ),
    # teachers and guide
    case("teacher lacking", "objective=similarity_kl", "a teacher", "teachers=["),
    case("teacher unused", "teachers=[{plain}]", "no objective learns from them"),
    case(
        "settings behind a teacher's name",
        "objective=teacher_mse teachers=[{plain}@head=keep]",
        *("settings behind @", "head: keep}"),
    ),
    case(
        "setting that no teacher has",
        "objective=teacher_mse teachers={model:~a,pool:~cls}",
        *("no setting 'pool'", "pooling"),
    ),
    case("guide lacking", "objective.guide_margin=0", "a guide", "guide=FOLDER"),
    case("guide unused", "guide={plain}", "objective.guide_margin"),
    case("teacher twice", "objective=teacher_mse teachers=[a,b,a]", "'a' twice"),
    case(
        "weights of other teachers",
        "objective=teacher_mse teachers=[a,b] objective.teacher_weights=[1]",
        *("teacher_weights", "2; give one each"),
    ),
    case(
        "vectors of other texts",
        "objective=teacher_mse teachers=[{here}/short.npy]",
        *("short.npy", "3 vectors", "16 texts"),
    ),
    case(
        "vectors cut by Matryoshka",
        "objective=teacher_cosine teachers=[a] head=none matryoshka_dims=[16]",
        *("matryoshka_dims", "similarity_kl"),
    ),
    # keys and further negatives
    case("queue unused", f"{MOMENTUM} objective=align_uniform", "looks at them", "info_nce"),
    case("negatives unused", "negatives=noise objective=align_uniform", "looks at further"),
    case("queue lacking", "objective=own:Queued", "keys or negatives"),
    case("copy unused", f"{MOMENTUM} keys.queue_length=0", "queue_length is 0"),
    case(
        "dropout of positives that keys give",
        f"{MOMENTUM} keys.positives=momentum positive_dropout=0.2",
        *("positive_dropout", "leave one out"),
    ),
    # views and pairings
    case("span on one side", "anchor_view=span", "positive_view", "same settings"),
    case(
        "two spans of other lengths",
        "anchor_view=span positive_view=span anchor_view.longest=64",
        *("span", "same settings"),
    ),
    case(
        "spans of two texts",
        "anchor_view=span positive_view=span",
        *("pairs.csv", "two parts of one text"),
        data="pairs.csv",
    ),
    case(
        "span of a neighbour",
        "anchor_view=span positive_view=span pairing=neighbour",
        *("pairing", "leave one out"),
    ),
    case("lexicon lacking", "anchor_view=synonym", "lexicon"),
    case("lexicon not there", "anchor_view=synonym anchor_view.lexicon=no.tsv", "no.tsv"),
    case(
        "lexicon inside a compose",
        "anchor_view={name:~compose,views:~[{name:~synonym,lexicon:~{here}/odd.tsv}]}",
        *("odd.tsv:1", "has no synonym"),
    ),
    case("pairing without documents", "pairing=neighbour", "--column document="),
    case("pairing of pairs", "pairing=neighbour", "leave it out", data="pairs.csv"),
    case(
        "pairing and no_duplicates",
        "pairing=neighbour batch_sampler=no_duplicates",
        *("batch_sampler", "every epoch"),
    ),
    # batches
    case("group_by_label without labels", "batch_sampler=group_by_label", "needs labels"),
    case("setting of no part", "keys.queue_length=8", "is a setting of keys", "there is none"),
    case("samples_per_label alone", "samples_per_label=2", "group_by_label"),
    case(
        "batch that labels do not fill",
        "batch_sampler=group_by_label samples_per_label=3 objective=supervised_contrastive",
        *("no multiple", "samples_per_label 3"),
        data="labels.csv",
    ),
    # around them
    case("projection without a head", "head=none projection=mlp", "projection mlp", "head"),
    case(
        "norm that cannot be kept",
        "head=keep projection=mlp projection.norm=batch",
        *("cannot be kept", "projection.norm"),
    ),
    case("dims under a head in training alone", "matryoshka_dims=[16]", "head", "'keep'"),
    case("dims above the width", "head=none matryoshka_dims=[999]", "999", "32 numbers"),
    case("layers that there are not", "student_layers=[0,9]", "student_layers", "9"),
    case("two temperatures", "objective.learn_temperature=true objective.final_temperature=0.1",
         "set one of them"),
    case("decoupled and focal", "objective.decoupled=true objective.focal=2", "leave one of them"),
]  # fmt: skip


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files, on Python's path."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    np.save(tmp_path / "short.npy", np.ones((3, 4), np.float32))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SIMCSE_KIT_DEBUG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def train(wrong: Case, room: Path, model: Path) -> Result:
    small = ["pooling=mean", "use_cpu=true", "report_to=none", "max_steps=1"]
    if "batch_size" not in wrong.settings:
        small.append("per_device_train_batch_size=4")
    command = ["train", "--model", str(model), "--data", str(room / wrong.data)]
    command += ["--output-dir", str(room / "new"), *wrong.arguments]
    command += [word for each in small for word in ("--set", each)]
    names = {"{plain}": str(model), "{here}": str(room), "~": " "}
    for name, path in names.items():
        command = [word.replace(name, path) for word in command]
    return CliRunner().invoke(app, command)


@pytest.mark.parametrize("wrong", CASES, ids=lambda wrong: wrong.name)
def test_a_method_that_makes_no_sense_is_refused_in_a_sentence(
    wrong: Case, room: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    before = {path for path in room.iterdir() if path.name != "__pycache__"}
    result = train(wrong, room, tiny_encoder("bert"))

    assert result.exit_code == 2, (result.output, result.exception)
    complaints = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(complaints) == 1, result.stderr
    for word in wrong.words:
        assert word in complaints[0]
    assert len(complaints[0]) < 500
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert {path for path in room.iterdir() if path.name != "__pycache__"} == before


def test_there_are_at_least_thirty_kinds() -> None:
    assert len({wrong.name for wrong in CASES}) == len(CASES) >= 30


def test_the_room_itself_is_sound(
    room: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The good halves of the cases do train, so that each fails for its own reason."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    for settings, data in [
        (f"{MOMENTUM} negatives=noise anchor_view=synonym anchor_view.lexicon={{here}}/words.tsv",
         "triplets.csv"),
        ("objective=cosine_mse objective.highest=5", "scores.csv"),
    ]:  # fmt: skip
        result = train(case("", f"{settings} collapse=off", data=data), room, tiny_encoder("bert"))
        assert result.exit_code == 0, result.output
        (room / "new").rename(room / data.partition(".")[0])


def test_a_setting_without_its_name_is_told() -> None:
    with pytest.raises(TypeError, match=r"given by name, for instance InfoNCE\(temperature=…\)"):
        InfoNCE(0.05)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="View"):
        View("rate")  # type: ignore[arg-type]
