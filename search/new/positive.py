"""Which of two classes must not be missed? A guess, by what they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# fmt: off
_FOUND = frozenset((
    "abnormal", "abnormality", "anomaly", "anomalous", "bad", "broken", "cancer", "carcinoma",
    "covid", "crack", "cracked", "damage", "damaged", "defect", "defective", "disease",
    "diseased", "faulty", "fault", "fire", "fraud", "ill", "infected", "infection", "lesion",
    "malignant", "melanoma", "nodule", "parasitized", "pneumonia", "pos", "positive", "rust",
    "sick", "smoking", "spam", "tb", "tuberculosis", "tumor", "tumour", "unhealthy",
))
"""Words for what is looked for."""
_USUAL = frozenset((
    "benign", "clean", "control", "good", "healthy", "intact", "neg", "negative", "normal", "ok",
    "undamaged", "uninfected", "well",
))
"""Words for what is not."""
# fmt: on
_NOT = frozenset(("no", "non", "not", "without"))


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A class that is taken for the positive one."""

    name: str
    """The class."""
    why: str
    """What speaks for it, as half a sentence."""


def guess(classes: Sequence[str]) -> Guess | None:
    """The class of two that must not be missed, by its name or the other's.

    Returns:
        None where names do not tell, or tell both; or where there are not two.

    >>> guess(["NORMAL", "PNEUMONIA"])
    Guess(name='PNEUMONIA', why="for the other one is called 'NORMAL'")
    >>> guess(["cats", "dogs"]) is None
    True
    """
    if len(classes) != 2:
        return None
    found: dict[str, str] = {}
    for name, other in (classes, classes[::-1]):
        words, others = _words(name), _words(other)
        opposite = _NOT & set(others) and [word for word in others if word not in _NOT] == words
        if opposite or (set(others) & _USUAL and not set(words) & _USUAL):
            found[name] = f"for the other one is called {other!r}"
        elif set(words) & _FOUND and not set(words) & _NOT and not set(others) & _FOUND:
            found[name] = "by its name"
    if len(found) != 1:
        return None
    [(name, why)] = found.items()
    return Guess(name=name, why=why)


def _words(name: str) -> list[str]:
    """Small letters; `NotSmoking` and `not_smoking` are two words.

    >>> _words("NotSmoking"), _words("COVID-19")
    (['not', 'smoking'], ['covid'])
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", apart.lower())
