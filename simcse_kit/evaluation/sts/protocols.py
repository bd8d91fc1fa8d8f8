"""Protocols of the STS suite by name, as data: what papers do differently with the same pairs.

Figures of one model differ by points between protocols (SimCSE, arXiv:2104.08821, appendix B), so
the protocol's name stands beside every number, and what departs from it is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.tasks import SUITE

ProtocolName = Literal["senteval-all", "mean", "wmean", "mteb"]
#: The seven tasks as MTEB has them: SICK-R with the pairs of all splits.
MTEB_SUITE = (*SUITE[:-1], "SICKR-MTEB")


@dataclass(frozen=True)
class Protocol:
    """How a figure of the suite comes about.

    Attributes:
        name: as in `PROTOCOLS`.
        aggregation: over the subsets of STS12–16, as `evaluation.sts.evaluate` takes it.
        suite: the tasks of its average.
        text: how the sentences are written in its data, as a result's ``protocol["text"]`` says.
        meaning: one sentence for beside a number.
        used_by: papers and tools whose figures are of this protocol.
    """

    name: ProtocolName
    aggregation: Literal["all", "mean", "wmean"]
    suite: tuple[str, ...]
    text: str
    meaning: str
    used_by: str


_SENTEVAL = "SICK-R is its 4,927 test pairs, text lower-cased and tokenised as in SentEval"
PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "senteval-all",
            "all",
            SUITE,
            "lower-cased",
            f"one Spearman over all pairs of a year's subsets together; {_SENTEVAL}",
            "SBERT, SimCSE and most that followed",
        ),
        Protocol(
            "mean",
            "mean",
            SUITE,
            "lower-cased",
            f"the plain mean of the Spearmans of a year's subsets; {_SENTEVAL}",
            "DeCLUTR; SentEval prints it too",
        ),
        Protocol(
            "wmean",
            "wmean",
            SUITE,
            "lower-cased",
            f"the mean of the Spearmans of a year's subsets, weighted by their pairs; {_SENTEVAL}",
            "BERT-flow, BERT-whitening",
        ),
        Protocol(
            "mteb",
            "all",
            MTEB_SUITE,
            "original case",
            "one Spearman over all pairs of a task; SICK-R is all its 9,927 pairs, text in its"
            " original case",
            "MTEB, which prints it from 0 to 1",
        ),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol of this name. Raises InputError where there is none."""
    if name not in PROTOCOLS:
        raise InputError(f"There is no protocol {name!r}: choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def protocol_of(measured: Mapping[str, Any]) -> Protocol:
    """The protocol of a result, from its ``protocol``: the one it names, or what it amounts to."""
    if "name" in measured:
        return protocol(measured["name"])
    if measured["aggregation"] != "all":
        return protocol(measured["aggregation"])
    splits = measured["splits"]  # both SICKs: the average is over the suite with SICKR
    return PROTOCOLS["mteb" if "SICKR-MTEB" in splits and "SICKR" not in splits else "senteval-all"]


def departures(measured: Mapping[str, Any]) -> list[str]:
    """Where a result departs from its protocol: a sentence each, none where it does not.

    Args:
        measured: the ``protocol`` of an `STSResult`.
    """
    named, tasks = protocol_of(measured), list(measured["splits"])
    found = []
    if set(tasks) & set(SUITE) and measured["text"] not in (named.text, "as in the source"):
        found.append(
            f"The text is {measured['text']}, and {named.name} scores it {named.text}:"
            " near published figures of this protocol, not equal to them."
        )
    sick = named.suite[-1]
    other = "SICKR" if sick == "SICKR-MTEB" else "SICKR-MTEB"
    if other in tasks:
        found.append(f"{other} is not the SICK-R of {named.name}, which is {sick}.")
    return found


def legend() -> list[str]:
    """What the protocols are and how they differ: a line each."""
    return [f"{p.name}: {p.meaning} ({p.used_by})." for p in PROTOCOLS.values()]
