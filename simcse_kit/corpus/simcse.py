"""The habits of the ``simcse`` package on this engine: encode, similarity, build_index, search.

Names, defaults and what is returned are those of ``SimCSE`` in ``simcse/tool.py`` of
princeton-nlp/SimCSE; `docs/from-simcse.md` says what differs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from simcse_kit.corpus import approximate
from simcse_kit.corpus.exact import in_order, nearest
from simcse_kit.encoder import NoPooling, SentenceEncoder, usable_device
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

Found = list[tuple[str, float]]


class SimCSE:
    """An encoder with the methods of the ``simcse`` package, and an index in memory.

    Args:
        model_name_or_path: a hub id or folder.
        device: by default CUDA where there is one.
        num_cells, num_cells_in_search: of the index that `faiss_fast` asks for.
        pooler: of a checkpoint that does not say its own: "cls", whose trained layer is kept, for
            released supervised models; "cls_before_pooler" for unsupervised ones; or any pooling
            of `SentenceEncoder`. Nothing is read off the name.

    Attributes:
        encoder: the `SentenceEncoder` beneath.

    Raises:
        InputError: the model cannot be loaded, or has no pooling and none was given; there is no
            such device; an index is to have less than one cell.
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        device: str | None = None,
        num_cells: int = 100,
        num_cells_in_search: int = 10,
        pooler: str | None = None,
    ) -> None:
        for name, cells in (
            ("num_cells", num_cells),
            ("num_cells_in_search", num_cells_in_search),
        ):
            if cells < 1:
                raise InputError(f"{name} is {cells}; it must be 1 or more")
        try:
            self.encoder = SentenceEncoder.from_pretrained(
                model_name_or_path,
                pooling=pooler,
                head="keep" if pooler == "cls" else None,
                device=device,
            )
        except NoPooling as error:
            raise InputError(
                f"{model_name_or_path} does not say its pooling; give pooler='cls' for a"
                " supervised SimCSE model, 'cls_before_pooler' for an unsupervised one"
            ) from error
        self.num_cells, self.num_cells_in_search = num_cells, num_cells_in_search
        self._sentences: list[str] = []
        self._vectors: np.ndarray | None = None
        self._index: Any = None

    def encode(
        self,
        sentence: str | Sequence[str],
        device: str | None = None,
        return_numpy: bool = False,
        normalize_to_unit: bool = True,
        keepdim: bool = False,
        batch_size: int = 64,
        max_length: int = 128,
    ) -> Tensor | np.ndarray:
        """Embed a sentence (D,), with `keepdim` (1, D), or several (N, D), as a tensor on the CPU.

        Args:
            device: computes on it, from now on; InputError for one that is not there.
            return_numpy: an array instead.
            batch_size: changes memory alone: batches are packed by tokens.
            max_length: tokens a sentence is cut to, where the model takes as many.
        """
        import torch

        if device is not None:
            self.encoder.to(usable_device(device))
        own = self.encoder.max_length
        self.encoder.max_length = min(own, max_length)
        try:
            vectors = self.encoder.encode(
                sentence,
                normalize=normalize_to_unit,
                batch_tokens=None if batch_size == 64 else batch_size * max_length,
            )
        finally:
            self.encoder.max_length = own
        if isinstance(sentence, str) and keepdim:
            vectors = vectors[None]
        return vectors if return_numpy else torch.from_numpy(vectors)

    def similarity(
        self,
        queries: str | Sequence[str],
        keys: str | Sequence[str] | np.ndarray,
        device: str | None = None,
    ) -> float | np.ndarray:
        """Cosines: a number of two sentences, else (M,) of one query, or (N, M).

        Args:
            keys: sentences, or vectors (M, D) of any length.
        """
        asked = self._unit(queries, device)
        others = keys if isinstance(keys, np.ndarray) else self._unit(keys, device)
        one_key = others.ndim == 1
        others = np.atleast_2d(others)
        if others.shape[1] != asked.shape[-1]:
            raise InputError(
                f"the keys have {others.shape[1]} dimensions, and {self.encoder.name} makes"
                f" {asked.shape[-1]}; embed them with it"
            )
        lengths = np.linalg.norm(others, axis=1, keepdims=True)
        cosines = np.atleast_2d(asked) @ (others / np.where(lengths == 0, 1, lengths)).T
        if not isinstance(queries, str):
            return cosines
        return float(cosines[0, 0]) if one_key else cosines[0]

    def build_index(
        self,
        sentences_or_file_path: str | Path | Sequence[str],
        use_faiss: bool | None = None,
        faiss_fast: bool = False,
        device: str | None = None,
        batch_size: int = 64,
    ) -> None:
        """Embed sentences, or those of a file, for `search`; what was there is forgotten.

        Args:
            use_faiss: by an index of faiss's; by default where it is installed. Without, all are
                compared.
            faiss_fast: in cells, of which the nearest are searched; finds less, in less time.

        Raises:
            InputError: no sentences, a file that cannot be read, no faiss.
        """
        sentences = self._given(sentences_or_file_path)
        if not sentences:
            raise InputError("there are no sentences to index; give some")
        vectors = self._unit(sentences, device, batch_size)
        if use_faiss is None:
            use_faiss = approximate.has_faiss()
        index = None
        if use_faiss:
            approximate.check_faiss("use_faiss", instead="give use_faiss=False")
            cells = min(self.num_cells, len(sentences))
            index = approximate.build(vectors, f"IVF{cells},Flat" if faiss_fast else "Flat")
        self._sentences, self._vectors, self._index = sentences, vectors, index

    def add_to_index(
        self,
        sentences_or_file_path: str | Path | Sequence[str],
        device: str | None = None,
        batch_size: int = 64,
    ) -> None:
        """Put more sentences behind those of `build_index`.

        Raises:
            InputError: nothing was built, or a file that cannot be read.
        """
        kept = self._built()
        sentences = self._given(sentences_or_file_path)
        if not sentences:
            return
        vectors = self._unit(sentences, device, batch_size)
        if self._index is not None:
            approximate.add(self._index, vectors)
        self._vectors = np.concatenate([kept, vectors])
        self._sentences = self._sentences + sentences

    @overload
    def search(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self,
        queries: str,
        device: str | None = None,
        threshold: float = 0.6,
        top_k: int = 5,
    ) -> Found: ...
    @overload
    def search(
        self,
        queries: Sequence[str],
        device: str | None = None,
        threshold: float = 0.6,
        top_k: int = 5,
    ) -> list[Found]: ...
    def search(
        self,
        queries: str | Sequence[str],
        device: str | None = None,
        threshold: float = 0.6,
        top_k: int = 5,
    ) -> Found | list[Found]:
        """The sentences nearest to a query and their cosines, the nearest first; a list of several.

        Args:
            threshold: the least cosine.
            top_k: at most so many of each query.

        Raises:
            InputError: nothing was built, or `top_k` is below 1.
        """
        vectors = self._built()
        if top_k < 1:
            raise InputError(f"top_k is {top_k}; ask for 1 or more")
        asked = np.atleast_2d(self._unit(queries, device))
        if self._index is None:
            rows, cosines = nearest(asked, vectors, top_k)
        else:
            found = approximate.search(self._index, asked, top_k, effort=self.num_cells_in_search)
            rows, cosines = in_order(asked, vectors, found, top_k)
        results = [
            [
                (self._sentences[row], cosine)
                for row, cosine in zip(found, close, strict=True)
                if row >= 0 and cosine >= threshold
            ]
            for found, close in zip(rows.tolist(), cosines.tolist(), strict=True)
        ]
        return results[0] if isinstance(queries, str) else results

    def _unit(
        self, texts: str | Sequence[str], device: str | None, batch_size: int = 64
    ) -> np.ndarray:
        return cast(
            np.ndarray,
            self.encode(texts, device=device, return_numpy=True, batch_size=batch_size),
        )

    def _built(self) -> np.ndarray:
        if self._vectors is None:
            raise InputError("there is no index to search; call build_index first")
        return self._vectors

    def _given(self, sentences_or_file_path: str | Path | Sequence[str]) -> list[str]:
        if not isinstance(sentences_or_file_path, str | Path):
            return [*sentences_or_file_path]
        from simcse_kit.data import read_rows

        return [*read_rows(sentences_or_file_path, wanted=["text"]).columns["text"]]
