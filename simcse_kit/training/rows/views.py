"""What a batch's rows become: numbers of texts side by side, and what is known of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np

from simcse_kit.data import Rows, document_links, linked_texts, told_links
from simcse_kit.training.distributed import is_main
from simcse_kit.training.model.goal import Goal
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.views import dropout_twins, given_columns

logger = logging.getLogger(__name__)


def link_rows(goal: Goal, rows: Rows, text_ids: np.ndarray | None) -> None:
    """Tell the rows' goal which texts several rows pair, and say how many there are.

    Args:
        text_ids: of `build_views`; None where no text stands in two places.
    """
    if rows.kind != "pairs" or text_ids is None:
        return
    anchors, positives = text_ids[: len(rows)], text_ids[len(rows) : 2 * len(rows)]
    texts = int(text_ids.max()) + 1
    links = linked_texts(anchors, positives, texts)
    told = [f"{told_links(links, texts)}; none of them counts as a negative"] if len(links) else []
    if rows.documents is not None:
        links = np.union1d(links, document_links([anchors, positives], rows.documents, texts))
        told.append("texts of one document are no negatives of each other")
    if len(links):
        goal.link(links, texts)
    for sentence in told if is_main() else ():
        logger.info("%s: %s", rows.source, sentence)


def build_views(
    rows: Rows, config: TrainConfig
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray | None]:
    """The view function of these rows, and the numbers of their texts.

    Numbers are equal for equal texts, and -1 for a hard negative that a row lacks.
    """
    if len(rows.columns) == 1:
        columns, views = 2, dropout_twins
    else:
        columns = len(rows.columns)
        views = partial(given_columns, columns=columns, total=len(rows))
    text_ids = rows.text_numbers()
    if not config.mask_equal_texts:
        text_ids = np.where(text_ids < 0, -1, np.arange(len(text_ids)))
    all_differ = int(text_ids.max()) + 1 == len(text_ids)
    # with two views the numbers serve the mask alone; with more they also tell how many there are
    needless = all_differ and columns == 2 and config.keys is None and config.pairing is None
    if rows.kind == "pairs" and rows.documents is not None:
        needless = False
    return views, None if needless else text_ids
