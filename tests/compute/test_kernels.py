"""Compiled kernels and the layers over them, against float64 definitions and torch's own layers."""

from __future__ import annotations

import copy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel

from simcse_kit.compute import attention, fast_layers
from simcse_kit.compute.dropout import FastDropout
from simcse_kit.compute.fast_layers import FastLinear, use_fast_layers, weight_gradient
from simcse_kit.compute.held import held_weights
from simcse_kit.compute.kernels import build as kernels

ops = kernels.kernels()
compiled = pytest.mark.skipif(ops is None, reason="no C++ compiler here: torch's operators run")

TYPES = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
LENGTHS = torch.tensor([1, 2, 5, 16, 17, 27, 33])


def by_definition(query, key, value, masks, window):
    """Softmax attention with dropout of each sequence; masks ``(heads, query, key)``."""
    outputs, start = [], 0
    for mask in masks:
        n = mask.shape[-1]
        q, k, v = (x[start : start + n].transpose(0, 1) for x in (query, key, value))
        scores = q @ k.transpose(1, 2) * 0.3
        places = torch.arange(n)
        scores = scores.masked_fill((places[:, None] - places).abs() >= window, -torch.inf)
        outputs.append(((scores.softmax(-1) * mask) @ v).transpose(0, 1))
        start += n
    return torch.cat(outputs)


@compiled
@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("window", [4, 100])
@pytest.mark.parametrize("dim", [8, 32, 40])
@pytest.mark.parametrize("dtype", TYPES)
def test_attention(dtype, dim, window, rate):
    torch.manual_seed(0)
    heads, tokens, fill = 3, int(LENGTHS.sum()), 5
    joint = torch.randn(tokens + fill, 3 * heads * dim).to(dtype)  # strided, as projected together
    states = [part.unflatten(1, (heads, dim)) for part in joint.split(heads * dim, dim=1)]
    out, weights = ops.attention(*states, LENGTHS, 7 if rate else None, rate, 0.3, window)
    assert not out[tokens:].any()
    masks, start = [], 0
    for n in LENGTHS.tolist():  # stored a row a key, negative where dropped
        stored = weights[start : start + heads * n * n].view(heads, n, n).transpose(1, 2)
        masks.append((stored >= 0).double() / (1 - rate))
        start += heads * n * n
    exact = [x[:tokens].double().requires_grad_() for x in states]
    expected = by_definition(*exact, masks, window)
    torch.testing.assert_close(out[:tokens].double(), expected, atol=TYPES[dtype], rtol=1e-2)
    grad = torch.randn(tokens + fill, heads, dim).to(dtype)
    expected.backward(grad[:tokens].double())
    joint, sums = ops.attention_backward(grad, *states, weights, LENGTHS, rate, 0.3)
    for got, summed, x in zip(joint.unbind(1), sums, exact, strict=True):
        torch.testing.assert_close(got[:tokens].double(), x.grad, atol=2 * TYPES[dtype], rtol=1e-2)
        assert not got[tokens:].any()
        over_tokens = x.grad.sum(0)
        torch.testing.assert_close(summed.double(), over_tokens, atol=10 * TYPES[dtype], rtol=1e-2)


@compiled
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_masks_have_the_distribution_of_dropout(rate):
    ones, zeros = torch.ones(1000, 1000), torch.zeros(1000, 1000)
    gain, shift = torch.ones(1000), torch.zeros(1000)

    def mask(seed):
        total = ones.clone()
        ops.dropout_add_norm_(total, zeros, seed, rate, gain, shift, 1e-5)
        return total

    first = mask(1 << 40)
    assert sorted(set(first.unique().tolist())) == pytest.approx([0, 1 / (1 - rate)])
    kept = (first > 0).double()
    sd = (rate * (1 - rate) / 1e6) ** 0.5
    assert kept.mean().item() == pytest.approx(1 - rate, abs=4 * sd)
    for sums in (kept.sum(0), kept.sum(1)):  # rows and columns as independent as a fair draw's
        assert sums.var().item() == pytest.approx(1000 * rate * (1 - rate), rel=0.2)
    assert torch.equal(first, mask(1 << 40))
    for other in (1, 2, (1 << 40) + 1, 1 << 61):  # seeds alike in either half: independent masks
        both = (kept * (mask(other) > 0)).mean().item()
        assert both == pytest.approx((1 - rate) ** 2, abs=5 * sd)
    neighbours = (kept[:, 1:] * kept[:, :-1]).mean().item()
    assert neighbours == pytest.approx((1 - rate) ** 2, abs=5 * sd)


@compiled
@pytest.mark.parametrize("dtype", TYPES)
def test_gelu_and_the_way_back_through_it(dtype):
    x = torch.linspace(-12, 12, 70 * 50).reshape(70, 50).to(dtype)
    grad = torch.randn(70, 50, generator=torch.manual_seed(1)).to(dtype)
    exact = x.double().requires_grad_()
    F.gelu(exact).backward(grad.double())
    back = grad.clone()
    again, sums = ops.gelu_backward_(back, x)
    assert torch.equal(again, ops.gelu(x)) and again.dtype == dtype
    wanted = F.gelu(x.double())
    tolerance = 3e-6 if dtype == torch.float32 else 0.05  # half of the last place of 12 in bf16
    torch.testing.assert_close(again.double(), wanted, atol=tolerance, rtol=0)
    assert sums.dtype == torch.float32
    tolerance = 1.2e-5 * float(grad.abs().max()) if dtype == torch.float32 else 0.02
    torch.testing.assert_close(back.double(), exact.grad, atol=tolerance, rtol=0)
    torch.testing.assert_close(sums.double(), exact.grad.sum(0), atol=70 * 1e-4, rtol=0)


@compiled
@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize("width", [8, 48, 50])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_dropout_add_norm(dtype, second, width, rate):
    torch.manual_seed(1)
    x, residual, grad = (torch.randn(70, width).to(dtype) for _ in range(3))
    gain, shift = torch.randn(width), torch.randn(width)
    seed = 3 if rate else None
    total, mask = x.clone(), torch.ones(70, width)
    out, stats = ops.dropout_add_norm_(total, residual, seed, rate, gain, shift, 1e-5)
    ops.dropout_add_norm_(mask, torch.zeros(70, width), seed, rate, gain, shift, 1e-5)
    exact = [t.double().requires_grad_() for t in (x, residual, gain, shift)]
    expected = F.layer_norm(exact[0] * mask + exact[1], (width,), exact[2], exact[3], 1e-5)
    torch.testing.assert_close(out.double(), expected, atol=TYPES[dtype], rtol=1e-2)
    more = torch.randn(70, width).to(dtype) if second else None
    expected.backward(grad.double() + (more.double() if second else 0))
    found = ops.dropout_add_norm_backward(grad, more, total, stats, seed, rate, gain)
    of_bias = exact[0].grad.sum(0)
    for got, wanted in zip(found, [*(t.grad for t in exact), of_bias], strict=True):
        torch.testing.assert_close(got.double(), wanted, atol=10 * TYPES[dtype], rtol=2e-2)


@compiled
@pytest.mark.parametrize("dtype", TYPES)
def test_dropout_there_and_back(dtype):
    x = torch.randn(7, 33, generator=torch.manual_seed(3)).to(dtype).requires_grad_()
    torch.manual_seed(4)
    layer = FastDropout(0.4).train()
    y = layer(x)
    y.backward(torch.ones_like(y))
    kept = y != 0
    torch.testing.assert_close(y, torch.where(kept, x / 0.6, 0.0).to(dtype))
    torch.testing.assert_close(x.grad, torch.where(kept, 1 / 0.6, 0.0).to(dtype))
    assert 0.4 < kept.double().mean() < 0.8
    torch.manual_seed(4)
    assert torch.equal(layer(x), y)


@compiled
def test_sum_of_squares():
    tensors = [torch.randn(*shape) for shape in ((70_001,), (3, 5), (0,), (1,), (16, 40))]
    exact = sum(float(each.double().square().sum()) for each in tensors)
    assert ops.sum_of_squares(tensors) == pytest.approx(exact, rel=1e-6)
    assert ops.sum_of_squares([torch.tensor([1.0, float("nan")])]) != exact
    with pytest.raises(RuntimeError, match="dense"):
        ops.sum_of_squares([torch.randn(4, 4)[:, :2]])


@compiled
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (65, 33), (130, 384), (7, 50)])
def test_transposed_and_column_sums(shape):
    matrix = torch.randn(shape).bfloat16()
    assert torch.equal(ops.transposed(matrix, False), matrix.t())
    assert torch.equal(ops.transposed(matrix, True), matrix.t().float())
    for states in (matrix, matrix.float()):
        torch.testing.assert_close(ops.column_sums(states), states.double().sum(0).float())


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_weight_gradient(shape):
    back, states = torch.randn(70, shape[0]).bfloat16(), torch.randn(70, shape[1]).bfloat16()
    expected = back.double().t() @ states.double()
    got = weight_gradient(back, states)
    assert got.dtype == torch.float32 and got.shape == shape
    torch.testing.assert_close(got.double(), expected, atol=0.05, rtol=0.01)


class Attention(nn.Module):
    """Query, key and value as Hugging Face's attention modules name them."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(24, size) for size in (24, 24, 24))

    def forward(self, x, other=None):
        other = x if other is None else other
        return self.query(x), self.key(other), self.value(other)


@pytest.mark.parametrize("other", [False, True])
def test_linear_layers_equal_torchs_in_bf16(other):
    torch.manual_seed(2)
    plain = Attention()
    fast = copy.deepcopy(plain)
    use_fast_layers(fast)
    assert isinstance(fast.query, FastLinear) and isinstance(fast.query, nn.Linear)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    inputs = torch.randn(2, 9, 24), torch.randn(2, 9, 24) if other else None
    found = []
    for model in (fast, plain):
        model.zero_grad()
        x = inputs[0].clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(x, inputs[1])
        sum((n + 1) * out.float().square().sum() for n, out in enumerate(outputs)).backward()
        found.append([*outputs, x.grad, *(p.grad for p in model.parameters())])
    for got, expected in zip(*found, strict=True):
        assert got.dtype == expected.dtype
        scale = expected.float().abs().max().item()
        torch.testing.assert_close(got, expected, atol=0.02 * scale, rtol=0)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert"])
def test_encoders_equal_their_originals(tiny_encoder, family):
    """Output and gradients, dropout off, against Hugging Face's own layers in fp32.

    In fp32 they are equal; in bf16 the error is of the size that torch's autocast makes.
    """
    plain = AutoModel.from_pretrained(tiny_encoder(family), attn_implementation="eager").train()
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    fast = copy.deepcopy(plain)
    use_fast_layers(fast)
    ids = torch.randint(10, 60, (3, 11), generator=torch.Generator().manual_seed(3))

    def run(model, bf16):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            states = model(input_ids=ids).last_hidden_state
        (states.float() * torch.linspace(-1, 1, states.shape[-1])).sum().backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return states.detach().float().flatten(), torch.cat(grads)

    for got, autocast, exact in zip(
        run(fast, True), run(plain, True), run(plain, False), strict=True
    ):
        assert (got - exact).norm() <= 2 * (autocast - exact).norm()
    for got, exact in zip(run(fast, False), run(plain, False), strict=True):
        assert (got - exact).norm() <= 1e-5 * exact.norm()


def test_applied_twice_is_applied_once(tiny_encoder):
    backbone = AutoModel.from_pretrained(tiny_encoder("bert"))
    use_fast_layers(backbone)
    kinds = [type(module) for module in backbone.modules()]
    use_fast_layers(backbone)
    assert [type(module) for module in backbone.modules()] == kinds


def test_without_a_compiler_torch_takes_over(monkeypatch, tiny_encoder):
    backbone = AutoModel.from_pretrained(tiny_encoder("bert")).train()
    use_fast_layers(backbone)
    monkeypatch.setattr(attention, "kernels", lambda: None)
    monkeypatch.setattr(fast_layers, "kernels", lambda: None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = backbone(input_ids=torch.randint(10, 60, (3, 11))).last_hidden_state
    states.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in backbone.encoder.parameters())


def test_switched_off_by_the_environment(monkeypatch):
    monkeypatch.setenv("SIMCSE_KIT_KERNELS", "0")
    assert kernels.kernels.__wrapped__() is None


@pytest.mark.parametrize("missing", ["c++", "ninja"])
def test_a_missing_tool_is_said_once(monkeypatch, caplog, missing):
    monkeypatch.setattr(
        kernels.shutil, "which", lambda name: None if name == missing else f"/bin/{name}"
    )
    monkeypatch.delenv("CXX", raising=False)
    assert kernels.kernels.__wrapped__() is None
    if kernels.sys.platform.startswith("linux") and kernels.platform.machine() == "x86_64":
        (record,) = caplog.records
        assert "no C++ compiler with ninja found" in record.message


LINKER = """Error building extension 'x': [1/1] c++ attention.o -o x.so
FAILED: x.so
c++ attention.o -o x.so
/usr/bin/ld: cannot find -lc10: No such file or directory
collect2: error: ld returned 1 exit status
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Error building extension\nmany\nlines", "(Error building extension)"),
        (LINKER, "(/usr/bin/ld: cannot find -lc10: No such file or directory)"),
        ("", "(RuntimeError)"),
    ],
)
def test_a_failing_compiler_is_said_in_one_line(monkeypatch, caplog, text, said):
    def fail():
        raise RuntimeError(text)

    monkeypatch.setattr(kernels, "_loaded", fail)
    monkeypatch.setattr(kernels.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(kernels.sys, "platform", "linux")
    monkeypatch.setattr(kernels.platform, "machine", lambda: "x86_64")
    assert kernels.kernels.__wrapped__() is None
    (record,) = caplog.records
    assert said in record.message and "\n" not in record.message


@compiled
@pytest.mark.parametrize("stream", TYPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_add_norm_keeps_the_streams_type(dtype, stream):
    x, residual = torch.randn(33, 50).to(dtype), torch.randn(33, 50).to(stream)
    gain, shift = torch.randn(50), torch.randn(50)
    out, none = ops.add_norm(x, residual, gain, shift, 1e-5)
    assert out.dtype == stream and none is None
    again, twin = ops.add_norm(x, residual, gain, shift, 1e-5, twin=True)
    assert torch.equal(again, out)
    if stream == torch.float32:
        assert torch.equal(twin, out.bfloat16())
    expected = F.layer_norm(x.double() + residual.double(), (50,), gain.double(), shift.double())
    torch.testing.assert_close(out.double(), expected, atol=TYPES[stream], rtol=1e-2)


@compiled
@pytest.mark.parametrize("width", [16, 50])
def test_embed_norm(width):
    words, places, kind = (torch.randn(rows, width) for rows in (30, 9, 1))
    ids, positions = torch.randint(30, (1, 40)), torch.randint(9, (1, 40))
    gain, shift = torch.randn(width), torch.randn(width)
    rest = words, kind[0], places, gain, shift, 1e-5
    out, twin = ops.embed_norm(ids, positions, *rest, twin=True)
    total = (words[ids[0]] + kind + places[positions[0]]).double()
    expected = F.layer_norm(total, (width,), gain.double(), shift.double())
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(twin, out.bfloat16())
    with pytest.raises(IndexError, match="token 0 has id 30 and position"):
        ops.embed_norm(ids + 30 - ids[0, 0], positions, *rest)
    with pytest.raises(IndexError, match=r"token 0 has id \d+ and position -1"):
        ops.embed_norm(ids, positions - 1 - positions[0, 0], *rest)


@compiled
def test_attention_without_weights_is_the_same():
    states = [torch.randn(int(LENGTHS.sum()), 2, 8) for _ in range(3)]
    kept = ops.attention(*states, LENGTHS, None, 0.0, 0.3, 100)
    bare = ops.attention(*states, LENGTHS, None, 0.0, 0.3, 100, keep_weights=False)
    torch.testing.assert_close(bare[0], kept[0])  # divides at the end
    assert bare[1].numel() == 0


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_inference_equals_the_originals(tiny_encoder, family):
    """fp32 exactly so; bf16 as near fp32 as torch's autocast comes."""
    plain = AutoModel.from_pretrained(tiny_encoder(family), attn_implementation="sdpa").eval()
    fast = copy.deepcopy(plain)
    use_fast_layers(fast)
    ids = torch.randint(10, 60, (3, 11), generator=torch.Generator().manual_seed(3))

    def run(model, bf16):
        with (
            torch.inference_mode(),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
            held_weights(),
        ):
            first = model(input_ids=ids).last_hidden_state.float()
            assert torch.equal(first, model(input_ids=ids).last_hidden_state.float())
        return first

    exact = run(plain, False)
    torch.testing.assert_close(run(fast, False), exact, atol=1e-5, rtol=1e-5)
    assert (run(fast, True) - exact).norm() <= 2 * (run(plain, True) - exact).norm()


def test_weights_are_held_no_longer_than_asked(tiny_encoder):
    layer = FastLinear(4, 4)
    x = torch.ones(1, 4)
    for _ in range(2):
        with (
            torch.inference_mode(),
            torch.autocast("cpu", dtype=torch.bfloat16),
            held_weights(),
        ):
            got = layer(x)
        expected = layer.weight.sum(1) + layer.bias
        torch.testing.assert_close(got[0].float(), expected, atol=0.05, rtol=0.02)
        with torch.no_grad():
            layer.weight.add_(1.0)


def test_threads_that_share_a_model_do_not_mix(tiny_encoder):
    from concurrent.futures import ThreadPoolExecutor

    backbone = AutoModel.from_pretrained(tiny_encoder("bert")).eval()
    use_fast_layers(backbone)

    def run(seed):
        ids = torch.randint(10, 60, (1, 30), generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            return backbone(input_ids=ids).last_hidden_state

    alone = [run(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, expected in zip(pool.map(run, range(8)), alone, strict=True):
                assert torch.equal(got, expected)


@compiled
def test_builds_lie_where_torch_has_them(monkeypatch):
    from torch.utils.cpp_extension import get_default_build_root

    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    assert kernels._folder().parent == Path(get_default_build_root())
    monkeypatch.setitem(sys.modules, "torch._appdirs", None)  # another torch: it is asked itself
    monkeypatch.setattr("torch.utils.cpp_extension.get_default_build_root", lambda: "/there")
    assert kernels._folder().parent == Path("/there")


def test_a_build_that_was_killed_holds_nobody_up(monkeypatch, tmp_path):
    folder = tmp_path / "simcse_kit_killed"
    folder.mkdir()
    (folder / "lock").touch()  # torch's, left behind
    (folder / f"{folder.name}.so").write_bytes(b"half of it")
    built = []

    def build(name, sources, *, build_directory, **kwargs):
        assert not (folder / "lock").exists()
        built.append(build_directory)

    monkeypatch.setattr(kernels, "_folder", lambda: folder)
    monkeypatch.setattr(kernels, "_built", False)
    monkeypatch.setattr("torch.utils.cpp_extension.load", build)
    assert kernels._loaded() is torch.ops.simcse_kit
    assert built == [str(folder)] and kernels._is_built()


@compiled
def test_a_place_that_cannot_be_written_is_said_with_the_way_out(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setattr(kernels, "_folder", lambda: tmp_path / "file" / "folder")
    monkeypatch.setattr(kernels, "_built", False)
    assert kernels.kernels.__wrapped__() is None
    said = caplog.records[-1].getMessage()
    assert "cannot be kept" in said and "TORCH_EXTENSIONS_DIR=DIR" in said


@compiled
def test_a_folder_with_a_space_in_its_name_is_one_word_to_the_linker(monkeypatch, tmp_path):
    from torch.utils import cpp_extension

    flags = []  # as torch writes them, which is into a line for the shell

    def build(*args, **kwargs):
        flags.extend(shlex.split(f"-L{cpp_extension.TORCH_LIB_PATH}"))

    monkeypatch.setattr(kernels, "_folder", lambda: tmp_path)
    monkeypatch.setattr(kernels, "_built", False)
    monkeypatch.setattr(cpp_extension, "TORCH_LIB_PATH", "/my code/torch/lib")
    monkeypatch.setattr(cpp_extension, "load", build)
    kernels._loaded()
    assert flags == ["-L/my code/torch/lib"]
    assert cpp_extension.TORCH_LIB_PATH == "/my code/torch/lib"


def test_looking_for_kernels_that_are_not_built_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(kernels, "_built", False)
    assert kernels.built_kernels() is None
    assert not list(tmp_path.iterdir())
