"""What `eval.quality.unlabelled` and its kin are given in tests: a tiny model, texts, variants."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.quality.unlabelled import PARAPHRASES, TITLES, Work, variants_of
from training_rows import dev_task, sentences

VARIANTS = """
plain: {}
dropout: {settings: {dropout: 0.2}}
student:
  settings: {auxiliaries: [{name: similarity_kl, shuffle: 0.1}]}
  teachers: {of: [plain, dropout], each: 2}
mean: {mean: {of: [plain, dropout], each: 2}}
"""
TINY = (
    *("use_cpu=true", "max_steps=1", "per_device_train_batch_size=4", "bf16=false"),
    *("warmup_steps=0", "learning_rate=1e-3"),
)


def work(model: Path, tmp_path: Path) -> Work:
    (tmp_path / "variants.yaml").write_text(VARIANTS)
    texts = sentences(12)
    search = (texts[:6], texts[6:], np.arange(6))
    settings = [*TINY, f"cache_dir={tmp_path / 'cache'}"]
    variants = variants_of(tmp_path / "variants.yaml")
    searched = {TITLES: [search], PARAPHRASES: [search, search]}
    return Work(str(model), texts, variants, settings, dev_task(), searched, ())


def words(tmp_path: Path, *more: str) -> list[str]:
    named = ("model", "data", "data-dir", "pairs", "variants", "output-dir", "json")
    given = [word for name in named for word in (f"--{name}", str(tmp_path / name))]
    return [*given, "--draws", "100", *more]
