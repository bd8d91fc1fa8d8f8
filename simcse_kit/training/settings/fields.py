"""Every setting of a training run: its name, default, bounds and what it is for.

Names are `transformers.TrainingArguments`' where that class has the setting, and ours otherwise.
How settings agree with each other, and where they are read: `simcse_kit.training.settings.config`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from simcse_kit.encoder import Pooling
from simcse_kit.errors import key_error
from simcse_kit.parts import Float, Int, Seed, Spec
from simcse_kit.training.settings.datasets import BatchSampler, DataSets, InTurn
from simcse_kit.training.settings.named import Guide, PartSpec, PartSpecs, Teachers

Head = Literal["none", "train_only", "keep"]
ModelHead = Literal["none", "keep"]
Collapse = Literal["stop", "warn", "off"]
Layout = Literal["current", "legacy"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


class Profile(BaseModel):
    """Which steps of a run are recorded; those before them are skipped, or warm the profiler up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skip: Annotated[Int, Field(ge=0)] = 5
    warm: Annotated[Int, Field(ge=0)] = 2
    record: Annotated[Int, Field(ge=1)] = 5


def _profile(value: object) -> Profile | None:
    """``true`` is the default profile and ``false`` is none."""
    if value is None or isinstance(value, bool):
        return Profile() if value else None
    try:
        return Profile.model_validate(value)
    except ValidationError:
        raise key_error(
            "profile",
            "profile must be true, false or {skip: 5, warm: 2, record: 5}, whole numbers of steps "
            f"of which record is at least 1, not {value!r}",
        ) from None


class Settings(BaseModel):
    """The settings alone; a description says what one does and when to change it."""

    # ---- the method ------------------------------------------------------------------------------
    pooling: Pooling | None = Field(
        None,
        description="How token states become one vector. None: what the model's folder says; a "
        "plain checkpoint needs one (mean is safe; cls for BERT trained as SimCSE does).",
    )
    head: Head = Field(
        "train_only",
        description="SimCSE's linear + tanh over the pooled vector: train_only (trained with, left "
        "out of the saved model), keep (part of it; supervised SimCSE) or none (a model that "
        "already is a sentence encoder).",
    )
    normalize: bool = Field(
        True,
        description="The saved model gives vectors of unit length, so a dot product is a cosine. "
        "Training compares by cosine either way. false: raw lengths.",
    )
    objective: PartSpec = Field(
        Spec(kind="objective", name="info_nce"),
        description="What is minimised: info_nce, or another by its name or as package.module:Name;"
        " its settings by dotted keys, as objective.temperature (temperature and "
        "hard_negative_weight are short for two of them).",
    )
    auxiliaries: PartSpecs = Field(
        [],
        description="Objectives that are added, each with its weight: "
        "[{name: decorrelation, weight: 0.1}].",
    )
    projection: PartSpec = Field(
        Spec(kind="projection", name="tanh"),
        description="The layers of the head: tanh is SimCSE's linear + tanh; mlp SimCLR's two "
        "with ReLU.",
    )
    anchor_view: PartSpec | None = Field(
        None,
        description="What is changed in the text of an anchor, in training alone: deletion, "
        "repetition, crop…; settings as anchor_view.rate. None: nothing.",
    )
    positive_view: PartSpec | None = Field(
        None, description="The same of a positive, which for plain texts is the text once more."
    )
    pairing: PartSpec | None = Field(
        None,
        description="Of plain texts, which one is the positive: neighbour takes a sentence beside "
        "it in its document. None: the text itself.",
    )
    keys: PartSpec | None = Field(
        None,
        description="Where further negatives, or the positives, come from: momentum keeps a slow "
        "copy of the encoder and a queue of what it gave. None: the batch alone.",
    )
    negatives: PartSpec | None = Field(
        None,
        description="Further negatives of every row that no text is: noise moves random vectors to "
        "where the batch is dense. None: none.",
    )
    teachers: Teachers = Field(
        [],
        description="Encoders (folder or hub id) or files of vectors (.npy, a row for each text) "
        "that objectives of distillation learn from; or {model: NAME, pooling: mean, …}.",
    )
    guide: Guide = Field(
        None,
        description="An encoder that says which candidates are no negatives: "
        "objective.guide_margin.",
    )
    matryoshka_dims: list[Int] = Field(
        [],
        description="The objective is also taken on so many leading numbers of the embeddings, so "
        "that they can be cut to them: [384, 128, 32].",
    )
    matryoshka_weights: list[Float] = Field(
        [], description="Of each of matryoshka_dims in the sum. Empty: 1 each."
    )
    ema_decay: Float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The model that is judged and saved is the moving average of the trained "
        "weights, as 0.99: an average of about the last 100 steps. None: the weights themselves.",
    )
    student_layers: list[Int] = Field(
        [],
        description="Train with these layers of the model alone, from 0: [0, 2, 5] makes a "
        "student of three. Empty: all.",
    )
    max_length: Int = Field(
        32,
        ge=3,
        description="Tokens a text is cut to in training, special tokens included. The saved model "
        "reads longer texts: as many tokens as the model it began with. Raise it for paragraphs; "
        "time grows with it.",
    )
    prompt: str | None = Field(
        None,
        description="Put before every text that is trained on and judged on; the saved model puts "
        "it there too. None: the default prompt of the model it starts from, if it has one.",
    )
    prompt_name: str | None = Field(
        None, description="The same, by the name that the model's folder gives a prompt."
    )
    document_prompt: str | None = Field(
        None,
        description="Of pairs, put before positives and negatives instead, where anchors are "
        "queries and these documents. None: as before anchors.",
    )
    template: str | None = Field(
        None,
        description="Put around every text, {} being the text and [MASK] the mask token, as 'This "
        "means [MASK]: {}'; the saved model puts it there too. max_length does not count it. None: "
        "the one of the model it starts from; '': none.",
    )
    positive_template: str | None = Field(
        None,
        description="In training, around positives and negatives instead. None: as around anchors.",
    )
    template_debias: bool = Field(
        False,
        description="In training, subtract from each vector what its template gives without the "
        "text (PromptBERT).",
    )
    model_head: ModelHead | None = Field(
        None,
        description="Of the model it starts from: keep takes the pooler of a SimCSE checkpoint as "
        "its head, none drops a folder's dense layers. None: what the folder has.",
    )
    lora: dict[str, Any] | None = Field(
        None,
        description="Train low-rank adapters in place of the model's weights: arguments of "
        "peft.LoraConfig, as {r: 8, lora_alpha: 16}. Less memory, and a small file a task; whole "
        "weights learn more. Needs simcse-kit[peft].",
    )
    merge_adapters: bool = Field(
        False,
        description="Of lora: save whole weights with the adapters merged in. false: the adapters "
        "alone, as peft does, beside the model they began with.",
    )
    trust_remote_code: bool = Field(
        False, description="Run the code that the folder of the model brings."
    )
    dropout: Float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Every dropout rate of the backbone. Makes the two views of a text differ. "
        "None: the model's own.",
    )
    positive_dropout: Float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout of the positives' side where it is to differ from the anchors'. "
        "None: the same.",
    )
    mask_equal_texts: bool = Field(
        True,
        description="Texts of a batch that equal a row's own, or that another row pairs with its "
        "anchor, are no negatives of it. false: as the published code.",
    )
    batch_sampler: BatchSampler = Field(
        "random",
        description="no_duplicates keeps rows that share or link a text out of one batch, so that "
        "every anchor keeps all its negatives; for data with many positives a text. "
        "group_by_label makes batches of samples_per_label rows a label.",
    )
    samples_per_label: Int = Field(
        4, ge=2, description="Of batch_sampler group_by_label: rows of each label in a batch."
    )
    mini_batch_size: Int | None = Field(
        None,
        ge=1,
        description="Rows encoded at a time, with the gradient of the whole batch (GradCache): a "
        "large batch in little memory, for a second forward pass. None: the whole batch.",
    )
    group_window: Int = Field(
        1,
        ge=1,
        description="Batches out of which rows are grouped by length, for backbones that run "
        "padded; costs some quality. 1: none.",
    )
    gather_negatives: bool = Field(
        True,
        description="On several ranks every rank's rows are negatives of every rank's. false: each "
        "rank's own alone.",
    )
    datasets: DataSets = Field(
        [],
        description="Further data sets, each with parts of its own: [{data: FILE, objective: "
        "cosent, weight: 0.5}]. What one does not set is the run's. Every batch is of one data "
        "set; encoder and projection are shared.",
    )
    multi_dataset_batch_sampler: InTurn = Field(
        "proportional",
        description="Of datasets: proportional draws batches by how many each data set has; "
        "round_robin takes turns until the smallest is used up.",
    )
    mlm_weight: Float = Field(
        0.0,
        ge=0,
        description="Weight of an auxiliary masked-LM loss. The paper's 0.1 helps transfer tasks "
        "and costs some STS.",
    )
    mlm_probability: Float = Field(
        0.15, gt=0, lt=1, description="Share of tokens that the masked-LM loss predicts."
    )

    # ---- the run ---------------------------------------------------------------------------------
    eval_split: Float | None = Field(
        None,
        gt=0,
        description="Share (below 1) or number of the rows of pairs that are held out of training "
        "and choose the best step by recall@1: is each anchor's positive the nearest? For data "
        "without a scored dev set. None: none are.",
    )
    eval_split_seed: Seed = Field(
        0,
        description="Which rows eval_split holds out; the same for all training seeds, so that "
        "their figures compare.",
    )
    early_stopping_patience: Int | None = Field(
        None,
        ge=1,
        description="Evaluations without a new best after which training stops. None: never.",
    )
    collapse: Collapse = Field(
        "stop",
        description="What to do when the space collapses to a point or a line: stop, warn or off.",
    )
    layout: Layout = Field(
        "current",
        description="Of the saved folder. legacy: also for readers before sentence-transformers "
        "5.4.",
    )
    profile: Annotated[Profile | None, BeforeValidator(_profile)] = Field(
        None,
        description="Record some steps with torch.profiler: a trace in the run's tensorboard "
        "folder, and the ten costliest operators in the log. true, or {skip: 5, warm: 2, "
        "record: 5} steps. None: costs nothing.",
    )
    cache_dir: Path | None = Field(
        None,
        description="Where tokenised texts and the rows of large files are kept. None: "
        "~/.cache/simcse_kit/tokens.",
    )

    # ---- Hugging Face's, with their meaning there -----------------------------------------------
    learning_rate: Float = Field(
        3e-5,
        gt=0,
        description="Highest step size of the optimizer. 3e-5 suits BERT-base; small encoders take "
        "more (1e-4 to 3e-4), models already trained for sentences less.",
    )
    num_train_epochs: Float = Field(
        1.0, gt=0, description="Passes over the data, where max_steps does not say otherwise."
    )
    max_steps: Int = Field(
        -1, description="Optimizer steps in all; overrides num_train_epochs. -1: by epochs."
    )
    per_device_train_batch_size: Int = Field(
        64,
        description="Rows a batch. The other rows of the batch are the negatives, so more is a "
        "harder task, and needs more memory (see mini_batch_size).",
    )
    gradient_accumulation_steps: Int = Field(
        1,
        ge=1,
        description="Batches an optimizer step. Adds no negatives: see mini_batch_size for that.",
    )
    weight_decay: Float = Field(0.0, ge=0, description="AdamW's decay of the weights.")
    warmup_steps: Float = Field(
        0,
        ge=0,
        description="Steps (or, below 1, the share of them) over which the learning rate rises "
        "from 0. 0.1 helps where the first steps go astray.",
    )
    lr_scheduler_type: str = Field(
        "linear",
        description="How the learning rate falls after that: linear, cosine, constant or another "
        "of Hugging Face's.",
    )
    max_grad_norm: Float = Field(
        1.0, ge=0, description="Length to which a longer gradient is cut. 0: not cut."
    )
    optim: str = Field("adamw_torch_fused", description="Optimizer, by Hugging Face's name.")
    adam_beta1: Float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the mean gradient.")
    adam_beta2: Float = Field(0.999, ge=0, lt=1, description="AdamW's decay of the mean square.")
    adam_epsilon: Float = Field(1e-8, gt=0, description="AdamW's guard against division by 0.")
    seed: Seed = Field(42, description="Of the head's weights, the order of the rows and dropout.")
    data_seed: Seed | None = Field(None, description="Of the order of the rows. None: seed.")
    bf16: bool | None = Field(
        None,
        description="Compute in bf16. None: where the hardware multiplies it natively; false: in "
        "fp32.",
    )
    fp16: bool = Field(
        False, description="Compute in fp16 with loss scaling, for GPUs without bf16."
    )
    use_cpu: bool = Field(False, description="Train on the CPU though there is a GPU.")
    gradient_checkpointing: bool = Field(
        False, description="Recompute layers in the backward pass: less memory, more time."
    )
    torch_compile: bool = Field(
        False, description="On a GPU, run the whole step through torch.compile: faster once warm."
    )
    torch_compile_backend: str = Field("inductor", description="Of torch.compile.")
    torch_compile_mode: CompileMode = Field(
        "reduce-overhead", description="Of torch.compile; reduce-overhead makes CUDA graphs."
    )
    dataloader_num_workers: Int = Field(
        0,
        ge=0,
        description="Processes that gather batches; texts are tokenised ahead, so 0 will do.",
    )
    eval_steps: Int | None = Field(
        None,
        ge=1,
        description="Steps between evaluations on the dev set; step 0 and the last are scored in "
        "any case. None: a tenth of the run, at most 125.",
    )
    logging_steps: Int = Field(
        25, ge=1, description="Steps between entries of the log; every evaluation makes one too."
    )
    save_steps: Int | None = Field(
        None,
        ge=1,
        description="Steps between checkpoints, from which --resume goes on; the last step has one "
        "in any case. None: half of the run, at most 500.",
    )
    save_total_limit: Int | None = Field(
        1,
        ge=1,
        description="Checkpoints that are kept, the newest; each takes about three times the "
        "model's size. None: all.",
    )
    report_to: list[str] = Field(
        ["tensorboard"], description="Trackers: tensorboard, wandb, mlflow…, or none."
    )
    push_to_hub: bool = Field(False, description="Upload the finished model to the hub.")
    hub_model_id: str | None = Field(None, description="Its name there. None: the output folder's.")
