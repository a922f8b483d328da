"""How are a model's answers written down? As a table for people, or as CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log10
from pathlib import Path
from typing import Any, TextIO

_EXACT = 17
"""Digits that tell any two floats apart."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says about one image."""

    name: str
    """Path, as it was given or found."""
    probability: float
    """Of the second class where there are two, of the decision where there are more; in [0, 1]."""
    decision: str
    """A class's name."""
    threshold: float | None
    """The second class is the answer from this probability on; None: the most probable class."""
    probabilities: dict[str, float]
    """Of every class."""


@dataclass(frozen=True, kw_only=True)
class Unread:
    """An image without an answer."""

    name: str
    """Path, as it was given or found."""
    reason: str
    """Why it could not be read."""


def shown(probability: float, *, digits: int = 4) -> str:
    """A probability for people: what is next to 0 or 1 is not rounded to it.

    >>> shown(0.25), shown(3e-94), shown(0.9999998), shown(1.0)
    ('0.2500', '3.00e-94', '0.99999980', '1.0000')
    """
    if 0 < probability < 10 ** (1 - digits):
        return f"{probability:.{digits - 2}e}"
    rest = 1 - probability
    if 0 < rest < 10 ** (1 - digits):
        digits = min(_EXACT, max(digits, ceil(-log10(rest)) + 1))
    return f"{probability:.{digits}f}"


def _write_table(answers: Iterable[Answer], paths: Sequence[Path], out: TextIO) -> None:
    wide = max((len(str(path)) for path in paths), default=0)
    wide = max(wide, len("image"))
    for number, answer in enumerate(answers):
        if number == 0:
            print(f"{'image':{wide}}  probability  threshold  decision", file=out)
        probability, threshold = shown(answer.probability), "-"
        if answer.threshold is not None:
            digits, threshold = 4, shown(answer.threshold)
            while probability == threshold and answer.probability != answer.threshold:
                digits += 1  # a reader has to see on which side it is
                probability = shown(answer.probability, digits=digits)
                threshold = shown(answer.threshold, digits=digits)
        print(
            f"{answer.name:{wide}}  {probability:>11}  {threshold:>9}  {answer.decision}", file=out
        )


def _write_csv(answers: Iterable[Answer], _: Sequence[Path], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name", "probability", "decision", "threshold"])
    for answer in answers:
        writer.writerow([answer.name, answer.probability, answer.decision, answer.threshold])


def _write_json(answers: Iterable[Answer], _: Sequence[Path], out: TextIO) -> None:
    rows: list[dict[str, Any]] = [vars(answer) for answer in answers]
    print(json.dumps(rows, indent=2, ensure_ascii=False), file=out)


WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json}
"""By `--format`."""
