"""Would products in int8 make our own path faster? The products of an encoder, int8 against bf16.

    python -m eval.speed.int8 [--hidden 384] [--intermediate 1536] [--json OUT]

Of each linear layer of an encoder's shape, in turns (bf16, int8, bf16, …), with the tokens of a
batch of `encode`: the product as our layers make it in bf16; and in int8 by each way torch has on a
CPU, with weights packed beforehand and the input's scale and rounding counted, as they come anew
with every batch. The ratio of a layer is the time in bf16 to that in int8, of all products: over 1
int8 is faster. What an encoder gains beyond is nothing: attention, norms and GELU stay as they are.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from eval.provenance import write
from eval.speed.report import spread, table

Product = Callable[[Tensor], Tensor]
HEADINGS = ("int8 by", "tokens", "of a layer", "query, key, value", "output", "up", "down", "error")


def products(hidden: int, intermediate: int) -> dict[str, tuple[int, int]]:
    """The linear layers of an encoder layer: numbers in and out."""
    return {
        "query, key, value": (hidden, 3 * hidden),
        "output": (hidden, hidden),
        "up": (hidden, intermediate),
        "down": (intermediate, hidden),
    }


def in_bf16(weight: Tensor, bias: Tensor) -> Product:
    """As a layer of ours: weights narrowed once."""
    narrow, added = weight.bfloat16(), bias.bfloat16()
    return lambda states: F.linear(states, narrow, added)


def by_channel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 weights and their scales ``(out,)``."""
    scales = weight.abs().amax(1) / 127
    return (weight / scales[:, None]).round().clamp(-127, 127).to(torch.int8), scales


def _rounded(states: Tensor) -> tuple[Tensor, Tensor]:
    """int8 states and a scale a token."""
    scales = states.abs().amax(1, keepdim=True).float().clamp(min=1e-9) / 127
    whole = (states / scales.to(states.dtype)).round().clamp(-127, 127)
    return whole.to(torch.int8), scales


def by_int_mm(weight: Tensor, bias: Tensor) -> Product:
    """`torch._int_mm`, a scale a token; int32 sums are scaled afterwards."""
    narrow, scales = by_channel(weight)
    across = narrow.t().contiguous()

    def product(states: Tensor) -> Tensor:
        rounded, own = _rounded(states)
        sums = torch._int_mm(rounded, across)
        return (sums * own * scales + bias).bfloat16()

    return product


def by_onednn(weight: Tensor, bias: Tensor) -> Product:
    """oneDNN's int8 linear of torch's compiler, a scale for the batch; bf16 comes out of it."""
    narrow, scales = by_channel(weight)
    packed = torch.ops.onednn.qlinear_prepack(narrow, None)
    zeros = torch.zeros(len(scales), dtype=torch.int32)

    def product(states: Tensor) -> Tensor:
        scale = float(states.abs().amax()) / 127
        # uint8 around 128, for processors multiply unsigned by signed
        rounded = (states * (1 / scale) + 128).round().clamp(1, 255).to(torch.uint8)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, scale, 128, packed, scales, zeros, bias, 1.0, 0, torch.bfloat16, "none", [], ""
        )
        return out

    return product


def by_dynamic(weight: Tensor, bias: Tensor) -> Product:
    """`torch.ops.quantized.linear_dynamic`: a scale for the batch, fp32 in and out."""
    scales = weight.abs().amax(1) / 127
    quantised = torch.quantize_per_channel(
        weight, scales.double(), torch.zeros(len(scales)).long(), 0, torch.qint8
    )
    packed = torch.ops.quantized.linear_prepack(quantised, bias)
    return lambda states: torch.ops.quantized.linear_dynamic(states.float(), packed).bfloat16()


WAYS: dict[str, Callable[[Tensor, Tensor], Product]] = {
    "torch._int_mm": by_int_mm,
    "onednn.qlinear_pointwise": by_onednn,
    "quantized.linear_dynamic": by_dynamic,
}


def turns(first: Product, second: Product, states: Tensor, pairs: int) -> list[tuple[float, float]]:
    """Seconds of both, taken in turns; one pair warms up."""
    taken = []
    for _ in range(pairs + 1):
        pair = []
        for one in (first, second):
            start = time.perf_counter()
            one(states)
            pair.append(time.perf_counter() - start)
        taken.append((pair[0], pair[1]))
    return taken[1:]


def measure(hidden: int, intermediate: int, sizes: Sequence[int], pairs: int) -> dict[str, Any]:
    """Ratios of every way, number of tokens and product; why a way is not there."""
    generator = torch.Generator().manual_seed(1)
    rows, left_out = [], []
    for way, make in WAYS.items():
        try:
            for tokens in sizes:
                row: dict[str, Any] = {"way": way, "tokens": tokens, "products": {}}
                whole = []
                for name, (inner, outer) in products(hidden, intermediate).items():
                    weight = torch.randn(outer, inner, generator=generator) / inner**0.5
                    bias = torch.randn(outer, generator=generator)
                    states = torch.randn(tokens, inner, generator=generator).bfloat16()
                    wide, narrow = in_bf16(weight, bias), make(weight, bias)
                    exact = F.linear(states.float(), weight, bias)
                    error = float((narrow(states).float() - exact).norm() / exact.norm())
                    taken = turns(wide, narrow, states, pairs)
                    whole.append(taken)
                    ratio = statistics.median(one / other for one, other in taken)
                    row["products"][name] = {"ratio": ratio, "error": error}
                layers = [
                    sum(one for one, _ in same) / sum(other for _, other in same)
                    for same in zip(*whole, strict=True)
                ]
                row["ratio"] = spread(layers)
                rows.append(row)
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            left_out.append(f"{way}: {' '.join(str(error).split())[:120]}")
    return {"rows": rows, "not_run": left_out, "threads": torch.get_num_threads()}


def cells(row: dict[str, Any]) -> list[str]:
    """One row as `HEADINGS` has it."""
    whole, each = row["ratio"], row["products"]
    return [
        row["way"],
        f"{row['tokens']:,}",
        f"{whole['median']:.2f}× ({whole['min']:.2f}–{whole['max']:.2f})",
        *(f"{one['ratio']:.2f}×" for one in each.values()),
        f"{max(one['error'] for one in each.values()):.1%}",
    ]


def claim(rows: Sequence[dict[str, Any]]) -> str:
    """What the figures say."""
    said = []
    for tokens in dict.fromkeys(row["tokens"] for row in rows):
        same = [row for row in rows if row["tokens"] == tokens]
        best = max(same, key=lambda row: row["ratio"]["median"])
        said.append(f"{best['ratio']['median']:.2f} ({best['way']}, {tokens:,} tokens)")
    return (
        "In int8, by the best of torch's ways on a CPU, the products of a layer have "
        f"{', '.join(said)} times their rate in bf16."
    )


def main(given: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--intermediate", type=int, default=1536)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--pairs", type=int, default=21, help="counted pairs of turns")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(given)
    with torch.inference_mode():
        figures = measure(options.hidden, options.intermediate, options.tokens, options.pairs)
    for reason in figures["not_run"]:
        print(reason, file=sys.stderr)
    print(table([cells(row) for row in figures["rows"]], HEADINGS, markdown=False))
    if options.json:
        settings = {key: value for key, value in vars(options).items() if key != "json"}
        write(options.json, {"settings": settings, **figures}, claim(figures["rows"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
