"""What a user can get wrong: one clear sentence, exit code 2, and nothing left half-written.

A case is a command line with ``{name}`` for the things in the room, and what its sentence must
hold: the file and line, the row or the key that is wrong.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simcse_kit.commands.cli import app
from simcse_kit.encoder.sentence_encoder import SentenceEncoder

GOOD_TEXTS = "".join(f"the man plays song {i}\na dog runs {i}\n" for i in range(8))
SCORED = "sentence1\tsentence2\tscore\na man\ta boy\t4.5\na dog\ta car\t0.5\na cat\ta dog\t2.0\n"
STSB_LINE = "main\tfile\t2012\t1\t{score}\tthe man runs\ta boy eats\n"

# Files of the room, by name: what is wrong with each is in its name.
FILES: dict[str, str | bytes] = {
    "texts.txt": GOOD_TEXTS,
    "scored.tsv": SCORED,
    "empty.txt": "",
    "blank.txt": "\n\n  \n",
    "few.txt": "a man\na dog\n",
    "binary.txt": b"\x00\x01\x02" * 50,
    "latin1.txt": "a man\ncaf\xe9\n".encode("latin-1"),
    "cut.txt.gz": gzip.compress(GOOD_TEXTS.encode() * 50)[:-20],
    "unzipped.txt.gz": GOOD_TEXTS,
    "texts.docx": GOOD_TEXTS,
    "lone.csv": "anchor\na man\na dog\n",
    "ragged.csv": "anchor,positive\na man,a boy\na dog,a cat,a horse\n",
    "hole.csv": "anchor,positive\na man,a boy\na dog,\n",
    "quote.csv": 'anchor,positive\na man,"a boy\na dog,a cat\n',
    "strange.csv": "title,abstract\nthe old man,a boy runs fast\na small dog,a cat eats\n",
    "broken.jsonl": '{"text": "a man"}\n{"text": "a dog"\n',
    "keyless.jsonl": '{"text": "a man"}\n{"txt": "a dog"}\n',
    "broken.parquet": b"PAR1 no parquet at all",
    "labelled.csv": "text,label\na man,1\na dog,0\n" * 8,
    "nan.tsv": SCORED.replace("0.5", "nan"),
    "constant.tsv": SCORED.replace("0.5", "4.5").replace("2.0", "4.5"),
    "unscored.tsv": "sentence1\tsentence2\na man\ta boy\n",
    "typo.yaml": "temprature: 0.1\n",
    "list.yaml": "- temperature\n",
    "broken.yaml": "temperature: [1\n",
    "sts/STS/STSBenchmark/sts-dev.csv": STSB_LINE.format(score="4.0") * 7,
    "nanscore/STS/STSBenchmark/sts-dev.csv": STSB_LINE.format(score="high") * 1500,
    "nothing/readme.txt": "",
    "full/notes.txt": "mine",
}

TRAIN = "train --model {plain} --data {texts.txt} --output-dir {new}"
TRAIN_TINY = f"{TRAIN} --set per_device_train_batch_size=4 --set pooling=mean"
DATA = "train --model {plain} --output-dir {new} --set pooling=mean --data"
EVALUATE = "evaluate {model} --tasks"
EMBED = "embed {model} {texts.txt} --output"


@dataclass(frozen=True)
class Case:
    """A command line that is wrong in one way, and what the complaint must hold."""

    name: str
    command: str
    words: tuple[str, ...]


def case(name: str, command: str, *words: str) -> Case:
    return Case(name, command, words)


CASES = [
    # the data
    case("missing file", f"{DATA} {{here}}/none.txt", "none.txt", "no such file"),
    case("misspelt file", f"{DATA} {{here}}/text.txt", "did you mean", "texts.txt"),
    case("missing folder", f"{DATA} {{here}}/no/a.txt", "does not exist"),
    case("a folder", f"{DATA} {{here}}", "is a folder"),
    case("empty file", f"{DATA} {{empty.txt}}", "empty.txt", "holds no rows"),
    case("blank lines only", f"{DATA} {{blank.txt}}", "blank.txt", "no "),
    case("fewer rows than a batch", f"{DATA} {{few.txt}}", "2 rows", "batch of 64"),
    case("binary file", f"{DATA} {{binary.txt}}", "binary.txt:1", "binary"),
    case("undecodable bytes", f"{DATA} {{latin1.txt}}", "latin1.txt:2", "0xe9", "UTF-8"),
    case("truncated gzip", f"{DATA} {{cut.txt.gz}}", "cut.txt.gz", "ends too early"),
    case("gzip in name only", f"{DATA} {{unzipped.txt.gz}}", "holds no gzip data"),
    case("unknown format", f"{DATA} {{texts.docx}}", "'.docx'", ".parquet"),
    case("one column of pairs", f"{DATA} {{lone.csv}}", "anchor but none for positive"),
    case("ragged rows", f"{DATA} {{ragged.csv}}", "ragged.csv:3", "3 columns"),
    case("empty cell", f"{DATA} {{hole.csv}}", "hole.csv:3", "positive is empty"),
    case("open quote", f"{DATA} {{quote.csv}}", "quote.csv:2", "quoting"),
    case("unknown columns", f"{DATA} {{strange.csv}}", "title, abstract", "anchor,positive"),
    case("line that is no JSON", f"{DATA} {{broken.jsonl}}", "broken.jsonl:2", "JSON"),
    case("line without the key", f"{DATA} {{keyless.jsonl}}", "keyless.jsonl:2", "'text'"),
    case("broken parquet", f"{DATA} {{broken.parquet}}", "not a readable parquet file"),
    case(
        "scored pairs to train on",
        f"{DATA} {{scored.tsv}}",
        "scored.tsv",
        "--column anchor=sentence1 --column positive=sentence2",
    ),
    case("labelled text to train on", f"{DATA} {{labelled.csv}}", "label", "--column text=text"),
    case("hub without a network", f"{DATA} nobody/no-such-data", "nobody/no-such-data", "hub"),
    # settings and recipes
    case("unknown recipe", f"{TRAIN} --recipe unsup-bert-bas", "did you mean 'unsup-bert-base'"),
    case("recipe file missing", f"{TRAIN} --recipe {{here}}/my.yaml", "my.yaml does not exist"),
    case("unknown recipe key", f"{TRAIN} --recipe {{typo.yaml}}", "typo.yaml", "'temperature'"),
    case("recipe that is a list", f"{TRAIN} --recipe {{list.yaml}}", "holds no settings"),
    case("recipe that is no YAML", f"{TRAIN} --recipe {{broken.yaml}}", "broken.yaml:2"),
    case("unknown setting", f"{TRAIN} --set temprature=1", "temprature", "'temperature'"),
    case("--set without a value", f"{TRAIN} --set max_steps", "key=value"),
    case("wrong type", f"{TRAIN} --set max_steps=many", "max_steps must be a whole number"),
    case("negative temperature", f"{TRAIN} --set temperature=-1", "temperature", "greater than 0"),
    case("not finite", f"{TRAIN} --set learning_rate=.inf", "learning_rate", "finite"),
    case("batch of one", f"{TRAIN} --set per_device_train_batch_size=1", "at least 2"),
    case("unknown pooling", f"{TRAIN} --set pooling=clss", "pooling", "did you mean 'cls'"),
    case("contradiction", f"{TRAIN} --set bf16=true --set fp16=true", "both true"),
    case("unknown tracker", f"{TRAIN} --set report_to=tensorbord", "'tensorboard'"),
    case("setting the kit owns", f"{TRAIN} --set output_dir=x", "--output-dir"),
    case("patience without a dev set", f"{TRAIN} --set early_stopping_patience=3", "--eval-data"),
    case("no dropout at all", f"{TRAIN_TINY} --set dropout=0", "dropout", "0.1"),
    case("too long for the model", f"{TRAIN_TINY} --set max_length=100", "100", "64"),
    # models
    case("model folder missing", "similarity {here}/none a b", "none", "does not exist"),
    case("model that is a file", "similarity {texts.txt} a b", "is a file"),
    case("folder that is no model", "similarity {nothing} a b", "nothing"),
    case("no tokenizer", "similarity {mute} a b --pooling cls", "mute", "no tokenizer"),
    case("truncated weights", "similarity {cut} a b", "cut", "cannot be read"),
    case("no weights", "similarity {hollow} a b", "hollow", "no safetensors weights"),
    case("broken config.json", "similarity {garbled} a b --pooling cls", "garbled", "config"),
    case("plain checkpoint", "similarity {plain} a b", "plain", "choose a pooling"),
    case("plain checkpoint to train", TRAIN_TINY.replace("pooling=mean", "seed=1"), "--pooling"),
    case("hub model offline", "similarity nobody/no-model a b", "nobody/no-model", "network"),
    case("pooling option", "similarity {model} a b --pooling cld", "--pooling", "'cls'"),
    case("length option", "similarity {model} a b --max-length 65", "65", "64"),
    case("head of none", "similarity {headless} a b --pooling cls --head keep", "head"),
    case("one text only", "similarity {model} a", "at least two texts"),
    case("one model only", "compare {model} {model}", "two different models"),
    # tasks
    case("unknown task", f"{EVALUATE} STS17 --data-dir {{sts}}", "'STS17'", "Did you mean"),
    case("wrong data-dir", f"{EVALUATE} STS12 --data-dir {{nothing}}", "nothing", "STS/ and SICK/"),
    case("data-dir missing", f"{EVALUATE} STS12 --data-dir {{here}}/none", "none"),
    case("incomplete data", f"{TRAIN_TINY} --eval-data {{sts}}", "sts-dev.csv", "7", "1,500"),
    case("task missing in data-dir", f"{EVALUATE} STS12 --data-dir {{sts}}", "MSRpar", "missing"),
    case("bad score", f"{TRAIN_TINY} --eval-data {{nanscore}}", "sts-dev.csv:1", "'high'"),
    case("NaN score", f"{EVALUATE} {{nan.tsv}}", "nan.tsv:3", "score"),
    case("constant scores", f"{EVALUATE} {{constant.tsv}}", "constant", "4.5"),
    case("task without scores", f"{EVALUATE} {{unscored.tsv}}", "unscored.tsv", "score"),
    case("unknown protocol", f"{EVALUATE} {{scored.tsv}} --protocol sum", "'wmean'"),
    case("unknown suite", "evaluate {model} --suite glue", "'glue'", "'sts'"),
    # places to write
    case("full output folder", TRAIN_TINY.replace("{new}", "{full}"), "full", "not empty"),
    case(
        "overwriting what is no run",
        f"{TRAIN_TINY.replace('{new}', '{full}')} --overwrite",
        "full",
        "holds no earlier run",
    ),
    case("nothing to resume", f"{TRAIN_TINY} --resume", "nothing to resume"),
    case("resume and overwrite", f"{TRAIN} --resume --overwrite", "one of them"),
    case(
        "output folder under a file",
        TRAIN_TINY.replace("{new}", "{texts.txt}/run"),
        "texts.txt is a file",
    ),
    case("output that is a file", TRAIN_TINY.replace("{new}", "{scored.tsv}"), "is a file"),
    case("pictures under a file", f"{TRAIN_TINY} --plots {{texts.txt}}/plots", "is a file"),
    case("unknown output format", f"{EMBED} {{here}}/e.csv", "e.csv", ".npy or .parquet"),
    case("output in no folder", f"{EMBED} {{here}}/no/e.npy", "no does not exist"),
    case("output is a folder", f"{EMBED} {{odd.npy}}", "is a folder"),
    case("JSON in no folder", f"{EVALUATE} {{scored.tsv}} --json {{here}}/no/x.json", "no does"),
    case("pairs to embed", "embed {model} {scored.tsv} --output {here}/e.npy", "--column"),
    case(
        "column that is not there",
        "embed {model} {scored.tsv} --output {here}/e.npy --column sentence3",
        "did you mean 'sentence2'",
    ),
    # the command line itself
    case("unknown command", "trian --model x", "trian", "'train'"),
    case("unknown option", "train --mdoel x", "--mdoel"),
    case("missing option", "train --model {plain} --data y", "--output-dir"),
    case("missing argument", "embed", "Missing argument"),
]


@pytest.fixture(scope="module")
def models(
    tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Model folders, each wrong in the way its name says; only read."""
    root = tmp_path_factory.mktemp("models")
    folders = {name: root / name for name in ("model", "mute", "cut", "hollow", "garbled")}
    folders["plain"] = tiny_encoder("bert")
    folders["headless"] = tiny_encoder("distilbert")
    SentenceEncoder.from_pretrained(folders["plain"], pooling="mean").save_pretrained(
        folders["model"]
    )
    for name in ("mute", "garbled"):
        shutil.copytree(folders["plain"], folders[name])
    for name in ("cut", "hollow"):
        shutil.copytree(folders["model"], folders[name])
    for file in folders["mute"].glob("tokenizer*"):
        file.unlink()
    weights = folders["cut"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    (folders["hollow"] / "model.safetensors").unlink()
    (folders["garbled"] / "config.json").write_text("{")
    return folders


@pytest.fixture
def room(models: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """The names a command may use, each with its path; files are written anew for every case."""
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "odd.npy").mkdir()
    folders = {name.split("/")[0]: tmp_path / name.split("/")[0] for name in FILES}
    named = folders | models | {"here": tmp_path, "odd.npy": tmp_path / "odd.npy"}
    return named | {"new": tmp_path / "new"}


def contents(folder: Path) -> dict[str, bytes | None]:
    found = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in found
    }


def fill(command: str, room: dict[str, Path]) -> list[str]:
    for name in sorted(room, key=len, reverse=True):
        command = command.replace(f"{{{name}}}", str(room[name]))
    assert "{" not in command, command
    return command.split()


@pytest.mark.parametrize("wrong", CASES, ids=lambda wrong: wrong.name)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    wrong: Case, room: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SIMCSE_KIT_DEBUG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # the token store lies there
    before = contents(tmp_path)
    result = CliRunner().invoke(app, fill(wrong.command, room))

    assert result.exit_code == 2, (result.output, result.exception)
    complaints = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(complaints) == 1, result.stderr
    for word in wrong.words:
        assert word in complaints[0]
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert contents(tmp_path) == before


def test_there_are_at_least_thirty_kinds() -> None:
    assert len({wrong.name for wrong in CASES}) == len(CASES) >= 30


def test_the_room_itself_is_sound(room: dict[str, Path]) -> None:
    """The good halves of the cases do work, so that each fails for its own reason."""
    for command in (
        f"{EMBED} {{here}}/e.npy",
        f"{EVALUATE} {{scored.tsv}} --json {{here}}/x.json",
        f"{TRAIN_TINY} --set max_steps=1 --set report_to=none --set cache_dir={{here}}/tokens",
    ):
        result = CliRunner().invoke(app, fill(command, room))
        assert result.exit_code == 0, result.output
    assert json.loads((room["here"] / "x.json").read_text())["tasks"]["scored"]["n"] == 3
