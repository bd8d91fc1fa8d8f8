"""Texts that an export is measured on where the user gives none: short, long, odd, of many kinds.

They show whether a graph computes what it should. What int8 loses on a user's own texts, only those
can tell.
"""

from __future__ import annotations

_SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays music on the street.",
    "The train to the coast leaves at half past seven.",
    "Rain is expected in the north tomorrow, with strong winds along the shore.",
    "She opened the letter, read it twice and put it back into the drawer.",
    "Stocks fell on Tuesday after the central bank raised its main rate again.",
    "How do I reset my password if I no longer have the old phone?",
    "Two children are building a castle out of wet sand.",
    "The enzyme cuts the strand at every place where the sequence occurs.",
    "No refund can be given once the seal of the package is broken.",
    "A brown dog jumps over a fence and runs after a ball.",
    "The museum shows drawings that were thought to be lost in the fire of 1871.",
    "Add the onions, stir for five minutes and season with salt and pepper.",
    "The committee could not agree on the wording of the second paragraph.",
    "Our results suggest that the effect depends on the age of the patients.",
    "He did not say that he would not come.",
    "The river froze so early that year that no ship reached the upper harbour.",
    "Press and hold the button until the light turns green.",
    "It was the best film of the year, and the worst attended.",
    "Mount the second shelf before you tighten the screws of the first.",
    "The old bridge was closed to lorries, buses and, at last, to cars.",
    "Which of the two planets is farther away from the sun?",
    "A woman slices tomatoes in a small kitchen.",
    "The court held that the contract was void from the beginning.",
    "Light takes about eight minutes from the sun to the earth.",
    "They lost by one point in the last second of the game.",
    "Bitte beachten Sie, dass der Zug heute von Gleis 9 abfährt.",
    "Le conseil municipal a voté le budget à une voix près.",
    "El niño que vive al lado toca el violín todas las tardes.",
    "今日はとても良い天気ですね。",
    "ERROR 404: /index.html not found (see https://example.org/help?id=12#top)",
    "x = 3.14159 * r ** 2",
)


def sample_texts() -> list[str]:
    """The sentences, single words of some, and some of them joined to longer and longer texts."""
    words = [sentence.split()[0] for sentence in _SENTENCES[::4]]
    longer = [" ".join(_SENTENCES[start : start + start + 2]) for start in range(0, 14, 2)]
    return [*_SENTENCES, *words, *longer]
