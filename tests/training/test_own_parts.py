"""Parts of a user's own: the page's package is written down, trained with and resumed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from resumed_runs import check_resumed
from simcse_kit.objectives import Embedded
from simcse_kit.parts import Context, find_part, part_names
from simcse_kit.training import build_config
from training_rows import config, sentences, text_rows

PAGE = (Path(__file__).parents[2] / "docs/own-parts.md").read_text()
FENCED = r"\n```\w+\n(.*?)^```$"
FILES = dict(re.findall(r"^<!-- file: (\S+) -->" + FENCED, PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^<!-- command -->" + FENCED, PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the page's files lie in, installed as far as Python can tell."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    installed = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    installed.mkdir()
    installed.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    installed.joinpath("entry_points.txt").write_text(
        "\n".join(
            f"[{group}]\n" + "\n".join(f"{name} = {where}" for name, where in names.items())
            for group, names in project["entry-points"].items()
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def test_the_page_s_commands_train_with_its_parts(
    package: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    """In one other process, as a shell's, where the kit meets the package for the first time."""
    (package / "my_texts.txt").write_text("\n".join(sentences(32)))
    small = ["pooling=mean", "use_cpu=true", "report_to=none", "max_steps=2", "collapse=off"]
    small += ["per_device_train_batch_size=8", "cache_dir=tokens"]
    more = [word for each in small for word in ("--set", each)]
    lines = [command.replace("\\\n", " ").split() for command in COMMANDS]
    assert len(lines) == 3 and all(line[:2] == ["simcse-kit", "train"] for line in lines)
    words = [
        [str(tiny_encoder("bert")) if word == "minilm" else word for word in line[1:]] + more
        for line in lines
    ]
    code = (
        "import json, sys\nfrom simcse_kit.commands.cli import app\n"
        "for words in json.loads(sys.argv[1]):\n    app(words, standalone_mode=False)\n"
    )
    path = os.pathsep.join([str(package), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(words)],
        cwd=package,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kept = {line[line.index("--output-dir") + 1] for line in lines}
    assert len(kept) == 3
    for name in kept:
        assert (package / name / "model.safetensors").is_file()
        again = build_config(str(package / name / "train_config.yaml"))
        assert again.objective.margin in (0.2, 0.3)


def test_a_killed_run_with_own_parts_goes_on_as_the_whole_one(
    package: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Memory remembers is in the checkpoints; and the log has learnt from it."""
    settings = config(
        package,
        objective="info_nce",
        auxiliaries=["hardest_margin"],
        positive_view="mine.parts:Beginning",
        negatives={"name": "memory", "length": 20},
        per_device_train_batch_size=4,
        max_steps=5,
    )
    check_resumed(tiny_encoder("bert"), text_rows(16), settings, package, monkeypatch, at=3)


def test_its_names_stand_beside_the_kit_s(package: Path) -> None:
    assert "hardest_margin" in part_names("objective") and "info_nce" in part_names("objective")
    assert part_names("negatives") == ["memory", "noise"]
    assert find_part("view", "beginning") is find_part("view", "mine.parts:Beginning")


def test_they_compute_what_they_say(package: Path) -> None:
    torch.manual_seed(0)
    anchors, positives = torch.randn(2, 5, 8)
    memory = find_part("negatives", "memory")(Context(width=8), length=7)
    batch = Embedded(anchors, positives)
    assert memory.added_to(batch) is batch  # nothing is remembered yet
    further = memory.added_to(Embedded(positives, anchors))
    assert torch.equal(further.queue, positives)
    assert torch.equal(memory(batch), torch.cat([positives, anchors])[-7:])

    margin = find_part("objective", "hardest_margin")(margin=0.5)
    queue = torch.randn(3, 8)
    terms = []
    for i in range(5):
        cosine = [torch.cosine_similarity(anchors[i], each, dim=0) for each in [*positives, *queue]]
        nearest = max(cosine[:i] + cosine[i + 1 :])
        terms.append(max(0.0, float(0.5 - cosine[i] + nearest)))
    assert float(margin(Embedded(anchors, positives, queue=queue))) == pytest.approx(sum(terms) / 5)
