"""What does a shipped model say about these images?

    python -m xfer.predict RUN/best IMAGE... [--format table|csv|json] [--threshold T]

Prints, per image, its name, a probability, the decision and the threshold, in the order given;
folders are looked through, in order of names. With two classes the probability is that of the
second one, whatever the decision; with more it is the decision's. What cannot be read is listed on
stderr and the rest is answered. Exit codes: 0 done; 2 nothing could be answered, or a wrong flag;
130 interrupted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import torch

from xfer.card import DEMO
from xfer.data.decode import SUFFIXES, DecodeError, decode_image, looks_like_image, read_image_file
from xfer.errors import XferError
from xfer.exported import MODEL, Exported, load_exported
from xfer.numerics import pick_device
from xfer.steps import predict_logits

_LATER = ("--prevalence", "--explain")
"""Flags that DESIGN knows and no code stands behind yet: refused by name."""


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


def predict(
    exported: Exported,
    paths: Iterable[Path],
    *,
    threshold: float | None = None,
    batch_size: int = 32,
    device: torch.device | None = None,
) -> Iterator[Answer | Unread]:
    """Answers for image files, in their order; `batch_size` of them are in memory at a time.

    Args:
        exported: the model; it is moved to the device.
        paths: of files.
        threshold: in place of the model's own; of no effect with more than two classes.
        batch_size: images per forward pass.
        device: None takes `xfer.numerics.pick_device()`.
    """
    device = device or pick_device()
    exported.net.to(device)
    threshold = exported.threshold if threshold is None else threshold
    remaining = iter(paths)
    while batch := list(islice(remaining, batch_size)):
        read = [_read(path, exported) for path in batch]
        images = [pixels for pixels in read if not isinstance(pixels, Unread)]
        answered = iter(probabilities(exported, np.stack(images), device) if images else ())
        for path, pixels in zip(batch, read, strict=True):
            if isinstance(pixels, Unread):
                yield pixels
            else:
                yield _decide(str(path), next(answered), exported.classes, threshold)


def probabilities(
    exported: Exported, pixels: npt.NDArray[np.uint8], device: torch.device
) -> npt.NDArray[np.float64]:
    """Probabilities (images, classes) of pixels (images, size, size, channels), as in training."""
    logits = predict_logits(exported.net, pixels, np.arange(len(pixels)), device=device)
    return torch.softmax(logits, dim=1).numpy()


def find_images(given: Iterable[Path]) -> list[Path]:
    """Files as they were given, folders looked through for images, in order of names.

    In folders, hidden files are passed over, and so is what neither is named nor begins as an
    image. A file that was given by itself is always taken.
    """
    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = [Path(folder) / name for name in sorted(names) if not name.startswith(".")]
            found += [f for f in files if f.suffix.lower() in SUFFIXES or looks_like_image(f)]
    return found


def _read(path: Path, exported: Exported) -> npt.NDArray[np.uint8] | Unread:
    images = exported.images
    try:
        raw = read_image_file(path)
        return decode_image(
            raw,
            size=images.size,
            fit=images.fit,
            channels=images.channels,
            interpolation=exported.interpolation,
        )
    except DecodeError as error:
        return Unread(name=str(path), reason=error.reason)


def _decide(
    name: str,
    by_class: npt.NDArray[np.float64],
    classes: tuple[str, ...],
    threshold: float | None,
) -> Answer:
    if threshold is not None:
        shown, decided = 1, int(by_class[1] >= threshold)
    else:
        decided = int(by_class.argmax())
        shown = 1 if len(classes) == 2 else decided
    return Answer(
        name=name,
        probability=float(by_class[shown]),
        decision=classes[decided],
        threshold=threshold,
        probabilities=dict(zip(classes, by_class.tolist(), strict=True)),
    )


# --------------------------------------------------------------------------------------------------
# The command


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
    unread: list[Unread] = []

    def answers(results: Iterable[Answer | Unread]) -> Iterator[Answer]:
        for result in results:
            if isinstance(result, Answer):
                yield result
            else:
                unread.append(result)
                print(f"not read: {result.name}: {result.reason}", file=sys.stderr)

    paths = find_images(asked.images)
    results = predict(exported, paths, threshold=asked.threshold, batch_size=asked.batch_size)
    _WRITERS[asked.format](answers(results), paths, sys.stdout)
    sys.stdout.flush()
    given = ", ".join(str(path) for path in asked.images)
    if len(unread) == len(paths):
        print(f"xfer.predict: no image could be read in {given}", file=sys.stderr)
        return 2
    if unread:
        print(f"{len(unread)} of {len(paths)} images could not be read", file=sys.stderr)
    return 0


def _write_table(answers: Iterable[Answer], paths: Sequence[Path], out: TextIO) -> None:
    wide = max((len(str(path)) for path in paths), default=0)
    wide = max(wide, len("image"))
    for number, answer in enumerate(answers):
        if number == 0:
            print(f"{'image':{wide}}  probability  threshold  decision", file=out)
        threshold = "-" if answer.threshold is None else f"{answer.threshold:.4f}"
        print(
            f"{answer.name:{wide}}  {answer.probability:11.4f}  {threshold:>9}  {answer.decision}",
            file=out,
        )


def _write_csv(answers: Iterable[Answer], _: Sequence[Path], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name", "probability", "decision", "threshold"])
    for answer in answers:
        writer.writerow([answer.name, answer.probability, answer.decision, answer.threshold])


def _write_json(answers: Iterable[Answer], _: Sequence[Path], out: TextIO) -> None:
    rows: list[dict[str, Any]] = [vars(answer) for answer in answers]
    print(json.dumps(rows, indent=2, ensure_ascii=False), file=out)


_WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xfer.predict",
        description="What a shipped model says about images.",
        allow_abbrev=False,
    )
    parser.add_argument("model", type=Path, metavar="RUN/best", help="a run's folder, or its best/")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="files or folders")
    parser.add_argument("--format", choices=tuple(_WRITERS), default="table")
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
    parser.add_argument("--prevalence", metavar="P", help="not built yet")
    parser.add_argument("--explain", action="store_const", const=True, help="not built yet")
    return parser


def _probability(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be a number in [0, 1], got {text!r}")
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
