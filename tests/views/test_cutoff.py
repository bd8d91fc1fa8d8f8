"""Which embeddings a cut-off keeps, against a loop over texts, and what sides make together."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from simcse_kit.parts import Context, part_names, spec_of
from simcse_kit.views import Draws, Side, cut_off
from simcse_kit.views.feature_cutoff import FeatureCutoff
from simcse_kit.views.token_cutoff import TokenCutoff
from simcse_kit.views.units import lowest

WIDTH = 24
LENGTHS = np.array([7, 2, 1, 20, 7, 64])
ROWS = np.array([5, 0, 9, 3, 4, 1])


class Vocabulary:
    special = np.isin(np.arange(100), (1, 2))


def draws(rows: np.ndarray = ROWS, epoch: int = 0, side: int = 0) -> Draws:
    return Draws(3, epoch, rows, side)


def texts(lengths: np.ndarray = LENGTHS) -> np.ndarray:
    """Ids from 10 on, special ones first and last."""
    ids = 10 + np.arange(lengths.sum()) % 80
    ends = np.cumsum(lengths)
    ids[ends - lengths], ids[ends - 1] = 1, 2
    return ids


def view(kind: type, **settings: object):
    return kind(Context(width=WIDTH, vocabulary=Vocabulary), **settings)


def by_text(values: np.ndarray, lengths: np.ndarray = LENGTHS) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths)[:-1])


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("rate", ["0.15", "0.29", "0.5", "0.99", "0.001"])
def test_so_many_tokens_of_each_text_and_those_with_the_smallest_draws(rate, special):
    ids = texts()
    kept = view(TokenCutoff, rate=float(rate), special=special).kept_tokens(ids, LENGTHS, draws())
    values = draws().per_token(LENGTHS)
    cases = zip(by_text(ids), by_text(kept), by_text(values), strict=True)
    for text, left, chance in cases:
        open_to_it = [n for n in range(len(text)) if special or not Vocabulary.special[text[n]]]
        count = math.floor(Fraction(rate) * len(open_to_it))
        cut = sorted(open_to_it, key=lambda n: chance[n])[:count]
        assert np.flatnonzero(~left).tolist() == sorted(cut)


@pytest.mark.parametrize(("rate", "count"), [(0.2, 4), (0.29, 6), (0.5, 12), (0.01, 0)])
def test_so_many_dimensions_of_each_text(rate, count):
    kept = view(FeatureCutoff, rate=rate).kept_features(draws())
    assert kept.shape == (len(ROWS), WIDTH)
    values = draws().per_token(np.full(len(ROWS), WIDTH)).reshape(kept.shape)
    for left, chance in zip(kept, values, strict=True):
        assert np.flatnonzero(~left).tolist() == sorted(np.argsort(chance)[:count])
    if count:
        assert len(np.unique(kept, axis=0)) == len(ROWS)  # each text loses others


def test_every_place_is_cut_as_often():
    rows = np.arange(4000)
    lengths = np.full(len(rows), 10)
    tokens = view(TokenCutoff, rate=0.2).kept_tokens(texts(lengths), lengths, draws(rows))
    features = view(FeatureCutoff, rate=0.25).kept_features(draws(rows))
    for kept, share in ((tokens.reshape(-1, 10), 0.2), (features, 0.25)):
        spread = math.sqrt(share * (1 - share) / len(rows))
        assert np.abs(1 - kept.mean(0) - share).max() < 5 * spread


def test_a_row_loses_the_same_in_any_batch_and_other_parts_next_epoch():
    token, feature = view(TokenCutoff, rate=0.5), view(FeatureCutoff)
    whole = by_text(token.kept_tokens(texts(), LENGTHS, draws()))
    some = np.array([4, 1])
    part = token.kept_tokens(texts(LENGTHS[some]), LENGTHS[some], draws(ROWS[some]))
    for place, left in zip(some, by_text(part, LENGTHS[some]), strict=True):
        assert (left == whole[place]).all()
    assert (feature.kept_features(draws(ROWS[some])) == feature.kept_features(draws())[some]).all()
    for other in (draws(epoch=1), draws(side=1)):
        assert (feature.kept_features(other) != feature.kept_features(draws())).any()
        assert (token.kept_tokens(texts(), LENGTHS, other) != np.concatenate(whole)).any()


def test_the_texts_themselves_stay():
    for kind in (TokenCutoff, FeatureCutoff):
        ids, lengths = view(kind)(texts(), LENGTHS, draws())
        assert (ids == texts()).all() and (lengths == LENGTHS).all()


def test_sides_stand_one_after_the_other():
    token, feature = view(TokenCutoff, rate=0.5), view(FeatureCutoff)
    first = Side.viewed(token, texts(), LENGTHS, draws())
    second = Side.viewed(feature, texts(LENGTHS[::-1]), LENGTHS[::-1], draws(side=1))
    bare = Side.viewed(None, texts(), LENGTHS, draws())
    assert cut_off([bare, bare]) == {"kept_tokens": None, "kept_features": None}

    both = cut_off([first, second])
    tokens, features = both["kept_tokens"], both["kept_features"]
    total = LENGTHS.sum()
    assert (tokens[:total] == token.kept_tokens(texts(), LENGTHS, draws())).all() and tokens[
        total:
    ].all()
    assert tokens.shape == (2 * total,) and features.shape == (2 * len(ROWS), WIDTH)
    assert (features[len(ROWS) :] == feature.kept_features(draws(side=1))).all()
    assert features[: len(ROWS)].all()
    assert cut_off([bare, first])["kept_features"] is None


def test_several_in_turn_keep_what_each_keeps_of_the_last_texts():
    some = [{"name": "token_cutoff", "rate": 0.5}, "feature_cutoff", "token_cutoff"]
    together = spec_of("view", {"name": "compose", "views": some}).build(Context(width=WIDTH))
    ids, lengths = texts(LENGTHS[::-1]), LENGTHS[::-1]
    first = view(TokenCutoff, rate=0.5).kept_tokens(ids, lengths, draws().nth(0))
    third = view(TokenCutoff).kept_tokens(ids, lengths, draws().nth(2))
    assert (together.kept_tokens(ids, lengths, draws()) == (first & third)).all()
    features = view(FeatureCutoff).kept_features(draws().nth(1))
    assert (together.kept_features(draws()) == features).all()
    none = spec_of("view", {"name": "compose", "views": ["token_cutoff"]}).build()
    assert none.cuts and none.kept_features(draws()) is None
    assert not spec_of("view", {"name": "compose", "views": []}).build().cuts


def test_the_smallest_of_runs_with_ties_and_none():
    values = np.array([0.5, 0.5, 0.1, 0.9, 0.3])
    chosen = lowest(values, np.array([3, 1, 1]), np.array([2, 0, 1]))
    assert chosen.tolist() == [True, False, True, False, True]


@pytest.mark.parametrize("name", ["token_cutoff", "feature_cutoff"])
def test_settings(name):
    assert name in part_names("view")
    assert spec_of("view", {"name": name, "rate": 0.1}).settings.rate == 0.1
    for rate in (0, 1, -0.1, float("nan"), True):
        with pytest.raises(ValidationError):
            spec_of("view", name).part(rate=rate)
    assert "cutoff" not in part_names("view")
