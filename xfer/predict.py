"""The command that uses a shipped model: its answers for images.

    python -m xfer.predict RUN/best IMAGE... [--format table|csv|json] [--threshold T]
                           [--prevalence P]

Prints, per image, its name, a probability, the decision and the threshold, in the order given;
folders are looked through, in order of names. With two classes the probability is that of the
second one, whatever the decision; with more it is the decision's. With --prevalence, probabilities
and the model's own threshold are those where a share P of images is of the second class: the
decisions stay the same. A threshold that is given is compared with the probabilities shown.

What a reader has to know of the model before believing it stands first on stderr; what cannot be
read is listed there, and the rest is answered. Exit codes: 0 done; 2 nothing
could be answered, or a wrong flag; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from xfer.answers import WRITERS, Answer, Unread, shown
from xfer.card import DEMO
from xfer.errors import XferError
from xfer.evaluate.calibration import moved
from xfer.exported import MODEL, Exported, load_exported
from xfer.inference import at_prevalence, find_images, predict

__all__ = ["Answer", "Unread", "find_images", "main", "predict"]

_LATER = ("--explain",)
"""Flags that are foreseen and no code stands behind yet: refused by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    later = [flag for flag in _LATER if getattr(asked, flag.removeprefix("--")) is not None]
    if later:
        parser.error(f"{', '.join(later)}: not built yet")
    try:
        return _run(asked)
    except XferError as error:
        print(f"xfer.predict: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("xfer.predict: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough; what is still in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(asked: argparse.Namespace) -> int:
    folder: Path = asked.model
    if not (folder / MODEL).exists() and (folder / "best").is_dir():
        folder = folder / "best"
    exported = load_exported(folder)
    if asked.threshold is not None and len(exported.classes) != 2:
        print(
            f"xfer.predict: --threshold is for two classes, this model has "
            f"{len(exported.classes)}: {', '.join(exported.classes)}",
            file=sys.stderr,
        )
        return 2
    if exported.demo:
        print(f"{DEMO}: this model has seen no real image.", file=sys.stderr)
    if not exported.supported and asked.threshold is None:
        print(f"Note: {exported.said}", file=sys.stderr)
    for mark in exported.marks:
        if mark not in exported.said:  # which is told above, where it is in force
            print(f"Mark: {mark}", file=sys.stderr)
    if asked.prevalence is not None:
        _tell_prevalence(exported, asked.prevalence, given=asked.threshold)
    unread: list[Unread] = []

    def answers(results: Iterable[Answer | Unread]) -> Iterator[Answer]:
        for result in results:
            if isinstance(result, Answer):
                yield result
            else:
                unread.append(result)
                print(f"not read: {result.name}: {result.reason}", file=sys.stderr)

    paths = find_images(asked.images)
    results = predict(
        exported,
        paths,
        threshold=asked.threshold,
        prevalence=asked.prevalence,
        batch_size=asked.batch_size,
    )
    WRITERS[asked.format](answers(results), paths, sys.stdout)
    sys.stdout.flush()
    given = ", ".join(str(path) for path in asked.images)
    if len(unread) == len(paths):
        print(f"xfer.predict: no image could be read in {given}", file=sys.stderr)
        return 2
    if unread:
        print(f"{len(unread)} of {len(paths)} images could not be read", file=sys.stderr)
    return 0


def _tell_prevalence(exported: Exported, prevalence: float, *, given: float | None) -> None:
    """What becomes of probabilities and decisions, on stderr.

    Raises:
        DataError: as `at_prevalence` says.
    """
    there = at_prevalence(exported, prevalence)
    before = exported.calibration
    fitted = "" if before is None else f" (calibrated where {before.prevalence:.3g} are)"
    positive = exported.classes[1]
    said = f"Probabilities are those where {prevalence:g} of images are {positive}{fitted}. "
    if given is not None:
        said += f"Decisions are made by --threshold {given:g}."
    elif exported.threshold is None:
        said += "Decisions stay the same."
    else:
        now = shown(moved(exported.threshold, before, there))
        own = shown(exported.threshold)
        said += f"Decisions stay the same: the threshold moves from {own} to {now}."
    print(said, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xfer.predict",
        description="What a shipped model says about images.",
        allow_abbrev=False,
    )
    parser.add_argument("model", type=Path, metavar="RUN/best", help="a run's folder, or its best/")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="files or folders")
    parser.add_argument("--format", choices=tuple(WRITERS), default="table")
    parser.add_argument(
        "--threshold",
        type=_probability,
        metavar="T",
        help="the second class is the answer from this probability on (the model's own)",
    )
    parser.add_argument(
        "--batch-size",
        type=_at_least_one,
        default=32,
        metavar="N",
        help="images per forward pass (32)",
    )
    parser.add_argument(
        "--prevalence",
        type=_share,
        metavar="P",
        help="share of the second class where the images come from (as calibrated)",
    )
    parser.add_argument("--explain", action="store_const", const=True, help="not built yet")
    return parser


def _probability(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be a number in [0, 1], got {text!r}")
    return value


def _share(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"must be a number inside (0, 1), got {text!r}")
    return value


def _at_least_one(text: str) -> int:
    value = _number(int, text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(value)


def _number(kind: type[int] | type[float], text: str) -> float | None:
    try:
        return kind(text)
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(main())
