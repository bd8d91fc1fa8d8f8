"""Indexes of faiss's over unit vectors: made in blocks, mapped from their file, searched.

A part of the nearest is found in a part of the time. What is here knows no ids and no models: rows
of vectors and their numbers alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.corpus.exact import Rows
from simcse_kit.corpus.given import check_unit
from simcse_kit.data import replacing
from simcse_kit.errors import InputError

#: Vectors fewer than these are compared all, fewer than those linked as a graph.
_FEW, _MANY = 20_000, 5_000_000
_CELLS = 65_536  # at most
_A_CELL = 40  # vectors a cell, from which the cells are learnt; faiss wants 39
_AT_A_TIME = 65_536  # vectors added
_LEARNT_FROM = 10_240, 1_000_000  # vectors, at least and at most

#: What a search spends, from little to much: neighbours kept of a graph, cells looked into.
EFFORTS = (16, 32, 64, 128, 256, 512)


def has_faiss() -> bool:
    """Whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


def check_faiss(
    what: str = "an index", *, instead: str = "search without one", option: str | None = None
) -> None:
    """Raise InputError where faiss is not installed.

    Args:
        what: asks for it. instead: what goes without.
        option: the command line's, which may be left out.
    """
    if not has_faiss():
        needs = "needs the package faiss-cpu, which is not installed: pip install"
        raise InputError(
            f"{what} {needs} 'simcse-kit[index]', or {instead}",
            command_line=f"{option} {needs} 'simcse-kit[index]', or leave it out"
            if option
            else None,
        )


def factory_for(count: int, dimension: int) -> str:
    """The kind of index for so many vectors, as faiss's factory strings name it.

    Of fewer than 20,000 all are compared (Flat). Fewer than five million are the nodes of a graph
    (HNSW, Malkov & Yashunin 2016) at a byte a number and 256 bytes for links; more lie in cells,
    each as a byte for 8 numbers (IVF-PQ, Jégou et al. 2011).
    """
    if count < _FEW:
        return "Flat"
    if count < _MANY:
        return "HNSW32_SQ8"
    return f"IVF{min(_CELLS, int(4 * math.sqrt(count)))},PQ{_parts(dimension)}"


def build(vectors: Rows, factory: str, *, show_progress: bool = False) -> Any:
    """An index of faiss's over unit vectors (M, D), as `learnt` and `add` make it."""
    index = learnt(vectors, factory)
    add(index, vectors, factory=factory, show_progress=show_progress)
    return index


@contextlib.contextmanager
def _told_of(factory: str) -> Iterator[None]:
    """Raise InputError where faiss does not do with this kind of index what is asked of it.

    Around its own calls alone: what else fails is no fault of the kind's, a GPU without memory for
    one.
    """
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            f"faiss cannot use {f'an index {factory!r}' if factory else 'this index'} here"
            f" ({_last(error)}); take another kind, such as Flat, HNSW32_SQ8 or IVF1024,SQ8"
        ) from error


def learnt(vectors: Rows, factory: str) -> Any:
    """An empty index for unit vectors (M, D), by their products.

    Its cells and codes are learnt of a sample of these vectors, a million at most, which is what
    it takes of memory.

    Raises:
        InputError: a factory string that faiss does not know, or that needs more vectors.
    """
    faiss = _faiss()
    count, width = vectors.shape
    try:
        index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise InputError(
            f"faiss knows no index {factory!r} for {width} dimensions; name a factory string such"
            f" as Flat, HNSW32_SQ8 or IVF1024,PQ{_parts(width)}"
        ) from error
    inner = _inner(index)
    layered = not isinstance(inner, faiss.IndexHNSW) or (
        inner.hnsw.cum_nneighbor_per_level.size() > 2  # the ends of two layers, and a zero
    )
    if not layered:  # it would end the process, by an assertion of faiss's
        raise InputError(f"an index {factory!r} links no vectors; give HNSW2 or more")
    if not index.is_trained:
        sample = _sample(vectors, _cells(index))
        try:
            index.train(sample)
        except RuntimeError as error:
            raise InputError(
                f"an index {factory!r} cannot be learnt from {count:,} vectors ({_last(error)});"
                f" take a smaller one, {factory_for(count, width)} for instance"
            ) from error
    return index


def add(
    index: Any,
    vectors: Rows,
    *,
    without: np.ndarray | None = None,
    factory: str = "",
    show_progress: bool = False,
) -> None:
    """Put vectors (M, D) behind those that the index has, 65,536 at a time.

    Args:
        without: the numbers of some that are left out, ascending.
        factory: the index's, for messages.

    Raises:
        InputError: vectors that are not of length 1, or an index that takes no more.
    """
    bar = tqdm(
        total=len(vectors), unit="vector", desc="index", disable=None if show_progress else True
    )
    with bar:
        for start in range(0, len(vectors), _AT_A_TIME):
            block = np.array(vectors[start : start + _AT_A_TIME], np.float32)
            check_unit(block)
            bar.update(len(block))
            if without is not None:
                here = slice(*np.searchsorted(without, [start, start + len(block)]))
                block = np.delete(block, without[here] - start, axis=0)
            with _told_of(factory):
                index.add(block)


def write(index: Any, path: Path) -> None:
    """Put the index into a file, whole or not at all."""
    faiss = _faiss()
    with replacing(path) as aside:
        faiss.write_index(index, str(aside))


def read(path: Path, *, mapped: bool = True) -> Any:
    """The index in a file.

    Args:
        mapped: it stays in the file, whose pages are read when a search comes to them: it is there
            at once, and cannot be added to.

    Raises:
        InputError: no file, or no index of faiss's in it.
    """
    faiss = _faiss()
    if not path.is_file():
        raise InputError(f"{path} is missing; build the index again")
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except RuntimeError as error:
        raise InputError(
            f"{path} is damaged, or no index of faiss's ({_last(error)}); build it again"
        ) from error


class Allowed:
    """The rows of an index that may be found, in its order; made once for however many searches.

    Attributes:
        mask: bool (M,).
        bits: the same as faiss wants them, eight rows a byte.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.mask, self.bits = mask, np.packbits(mask, bitorder="little")


def search(
    index: Any,
    queries: np.ndarray,
    k: int,
    *,
    effort: int | None = None,
    allowed: Allowed | None = None,
    factory: str = "",
) -> np.ndarray:
    """The rows that the index takes for the `k` nearest: int64 (N, k), −1 where it finds fewer.

    Args:
        queries: float32 (N, D), unit rows.
        effort: one of `EFFORTS`; what was set in the index by default.
        allowed: the rows that may be found; by default all.
        factory: the index's, for messages.

    Raises:
        InputError: an index that cannot be searched.
    """
    faiss = _faiss()
    queries = np.ascontiguousarray(queries, np.float32)
    k = min(k, index.ntotal)
    with _told_of(factory):
        selector = None if allowed is None else faiss.IDSelectorBitmap(allowed.bits)
        try:
            _, found = index.search(queries, k, params=_parameters(index, effort, selector))
            return found
        except RuntimeError:  # of a kind that does not choose among its rows
            if allowed is None:
                raise
        return _sifted(index, queries, k, allowed.mask, _parameters(index, effort, None))


def has_effort(index: Any) -> bool:
    """Whether the kind of index searches more or less, as it is asked."""
    faiss = _faiss()
    return isinstance(_inner(index), faiss.IndexHNSW | faiss.IndexIVF)


def most_effort(index: Any) -> int:
    """The effort from which on more is in vain."""
    return _cells(index) or EFFORTS[-1]


def _sifted(
    index: Any, queries: np.ndarray, k: int, allowed: np.ndarray, parameters: Any
) -> np.ndarray:
    """Found without regard to what is allowed: ever more, until there are enough that are."""
    asked = k
    while True:
        asked = min(2 * asked, index.ntotal)
        _, found = index.search(queries, asked, params=parameters)
        good = (found >= 0) & allowed[found]
        if asked == index.ntotal or good.sum(1).min(initial=k) >= k:
            break
    order = np.argsort(~good, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(found, order, 1)
    return np.where(np.take_along_axis(good, order, 1), kept, -1)


def _parameters(index: Any, effort: int | None, selector: Any) -> Any:
    """What a search of this kind of index is told; None for nothing."""
    faiss = _faiss()
    told: dict[str, Any] = {} if selector is None else {"sel": selector}
    inner = _inner(index)
    parameters: Any
    if isinstance(inner, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(
            efSearch=inner.hnsw.efSearch if effort is None else effort, **told
        )
    elif isinstance(inner, faiss.IndexIVF):
        probed = inner.nprobe if effort is None else min(effort, inner.nlist)
        parameters = faiss.SearchParametersIVF(nprobe=probed, **told)
    elif not told:
        return None
    else:
        parameters = faiss.SearchParameters(**told)
    return _around(index, parameters)


def _around(index: Any, parameters: Any) -> Any:
    """Parameters of the index inside, handed on by what stands around it."""
    faiss = _faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        within = _around(index.index, parameters)
        return faiss.SearchParametersPreTransform(index_params=within)
    if isinstance(index, faiss.IndexRefine):
        within = _around(index.base_index, parameters)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=within)
    return parameters


def _faiss() -> Any:
    """The module; its types know half of it."""
    import faiss

    return faiss


def _inner(index: Any) -> Any:
    """The index behind a transformation of the vectors, or under what refines it, or itself."""
    faiss = _faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _inner(index.index)
    return _inner(index.base_index) if isinstance(index, faiss.IndexRefine) else index


def _cells(index: Any) -> int:
    return int(getattr(_inner(index), "nlist", 0))


def _sample(vectors: Rows, cells: int) -> np.ndarray:
    """Vectors to learn from, drawn without replacement, in their order."""
    fewest, most = _LEARNT_FROM
    size = min(len(vectors), max(fewest, min(most, _A_CELL * cells)))
    drawn = np.random.default_rng(0).choice(len(vectors), size, replace=False)
    return np.array(vectors[np.sort(drawn)], np.float32)


def _parts(width: int) -> int:
    """Parts of about 8 numbers that a vector falls into."""
    return next(n for n in range(max(1, width // 8), 0, -1) if width % n == 0)


def _last(error: RuntimeError) -> str:
    """What faiss says, without the place in its source."""
    said = " ".join(str(error).split())
    return said.rsplit(": ", 1)[-1].rstrip(".") if "Error in" in said else said
