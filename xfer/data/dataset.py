"""What do workers get: pixels in the store, labels, and who is in which part?"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import PIL

from xfer.chunks import blake2b
from xfer.data.decode import DECODER, SUFFIXES, DecodeError, decode_image
from xfer.data.items import Item, Skipped, Source
from xfer.data.side_by_side import side_by_side
from xfer.data.sources import open_source
from xfer.data.splits import Splits, split_items
from xfer.errors import DataError
from xfer.pixels import Pixels
from xfer.recipe import Images
from xfer.store import Store

Progress = Callable[[int, int], None]
"""Told how many images are decoded, of how many; in the caller's thread."""

TOLERATED_SHARE, TOLERATED = 0.05, 3
"""More damaged files than both, and there is no training on what happens to be left."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled pixels in three parts. Small to pickle: pixels stay in the store."""

    images: Images
    """What was asked for."""
    pixels: Pixels
    """(images, size, size, channels) of uint8; `pixels[indices]` copies a batch."""
    labels: np.ndarray
    """int64 (images,): positions in `classes`."""
    classes: tuple[str, ...]
    """Names; with a positive class two, the other one first."""
    positive: int | None
    """1, or None where every class is predicted."""
    splits: dict[str, np.ndarray]
    """`train`, `val` and `test`: int64 positions, ascending."""
    names: tuple[str, ...]
    """Of images, as in the source."""
    patients: tuple[str, ...]
    """Of images."""
    subgroups: tuple[str | None, ...]
    """Of images."""
    digest: str
    """Of names, contents, labels, classes and parts, and of size, fit and channels."""

    def without(self, part: str) -> Dataset:
        """The same with one part sealed: its positions are gone, and its labels are -1."""
        labels = self.labels.copy()
        labels[self.splits[part]] = -1
        splits = {name: rows for name, rows in self.splits.items() if name != part}
        return replace(self, labels=labels, splits=splits)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How loading went, for the screen and for what is written down."""

    source: str
    """Where the images are."""
    images: int
    """In the dataset."""
    patients: int
    """Different ones; an image that stands alone is one."""
    unmatched: int
    """File names in which the patient pattern was not found."""
    skipped: tuple[Skipped, ...]
    """Files left out."""
    made: tuple[str, ...]
    """Parts that had to be cut, as sentences."""
    notes: tuple[str, ...]
    """What else should be said on screen, as sentences."""
    counts: dict[str, dict[str, int]]
    """Images by split and class."""
    seconds: float
    """Wall time of all of it."""
    decode_seconds: float
    """Wall time of decoding and storing, or of waiting for who does."""
    images_decoded: int
    """By this process; the others were in the store."""
    digests: tuple[str, ...]
    """Of each image's content, in the dataset's order."""
    digest: str
    """Of names, contents, labels, classes and parts: what a resumed run has to find again."""

    def summary(self) -> dict[str, Any]:
        """Part `data` of `result.json`."""
        return {
            "images": self.images,
            "patients": self.patients,
            "skipped": len(self.skipped),
            "splits": self.counts,
        }


def load_dataset(
    images: Images, *, store: Store, seed: int = 0, progress: Progress | None = None
) -> tuple[Dataset, Loading]:
    """Lists, decodes once, leaves out what cannot be decoded, and splits.

    Args:
        images: where the images are and how they are looked at.
        store: where decoded images are kept.
        seed: of parts that have to be cut, and of images that are drawn.
        progress: told while decoding.

    Raises:
        DataError: the source cannot be used, or more than 5 % of the images, and more than three,
            are damaged.
        StoreError: no room for the decoded images.
    """
    start = time.monotonic()
    source = open_source(images, seed=seed)
    failed: dict[int, DecodeError] = {}
    digests = _digests(source, failed)
    readable = [i for i in range(len(source.items)) if i not in failed]
    reading = time.monotonic()
    pixels, decoded = _decode(
        source,
        images,
        store=store,
        digests=digests,
        readable=readable,
        failed=failed,
        progress=progress,
    )
    decode_seconds = time.monotonic() - reading
    skipped = _skipped(source, digests, failed)
    _stop_if_many(source, skipped)

    kept = np.flatnonzero(pixels.present)
    chosen = [readable[i] for i in kept]
    items = [source.items[i] for i in chosen]
    contents = tuple(digests[i] for i in chosen)
    splits = split_items(items, seed=seed, positive=source.positive, classes=source.classes)
    labels = np.array([item.label for item in items], dtype=np.int64)
    classes, positive = source.classes, None
    if source.positive is not None:
        labels = (labels == source.positive).astype(np.int64)
        classes, positive = _binary(source), 1
    digest = _digest(items, contents, labels, classes, splits)
    dataset = Dataset(
        images=images,
        pixels=pixels.take(kept),
        labels=labels,
        classes=classes,
        positive=positive,
        splits=splits.parts(),
        names=tuple(item.name for item in items),
        patients=tuple(item.patient for item in items),
        subgroups=tuple(item.subgroup for item in items),
        digest=blake2b(f"{digest} {images.size} {images.fit} {images.channels}".encode()),
    )
    loading = Loading(
        source=source.name,
        images=len(items),
        patients=len(set(dataset.patients)),
        unmatched=source.unmatched,
        skipped=skipped,
        made=splits.made,
        notes=source.notes,
        counts=_counts(dataset),
        seconds=time.monotonic() - start,
        decode_seconds=decode_seconds,
        images_decoded=decoded,
        digests=contents,
        digest=digest,
    )
    return dataset, loading


def _binary(source: Source) -> tuple[str, str]:
    """Names of the two classes, the positive one last."""
    assert source.positive is not None
    name = source.classes[source.positive]
    others = [other for other in source.classes if other != name]
    return (others[0] if len(others) == 1 else f"not {name}", name)


def _digests(source: Source, failed: dict[int, DecodeError]) -> list[str]:
    """Of every item's content; an empty one where it cannot be read, and why in `failed`."""
    digests = []
    for i, result in enumerate(side_by_side(source.digest, range(len(source.items)))):
        if isinstance(result, DecodeError):
            failed[i] = result
        digests.append("" if isinstance(result, DecodeError) else result)
    return digests


def _decode(
    source: Source,
    images: Images,
    *,
    store: Store,
    digests: Sequence[str],
    readable: Sequence[int],
    failed: dict[int, DecodeError],
    progress: Progress | None,
) -> tuple[Pixels, int]:
    """Pixels of the readable items, and how many had to be decoded."""
    decoded = 0

    def one(i: int) -> np.ndarray:
        raw = source.read(i)
        return decode_image(raw, size=images.size, fit=images.fit, channels=images.channels)

    def make(missing: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        nonlocal decoded
        wanted = [readable[position] for position in missing]
        done = len(readable) - len(missing)
        for position, result in zip(missing, side_by_side(one, wanted), strict=True):
            done += 1
            if isinstance(result, DecodeError):
                failed[readable[position]] = result
            else:
                decoded += 1
                yield position, result
            if progress is not None:
                progress(done, len(readable))

    key = {
        "what": "decoded image",
        "size": images.size,
        "fit": images.fit,
        "channels": images.channels,
        "decoder": DECODER,
        "pillow": PIL.__version__,
    }
    shape = (images.size, images.size, images.channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that it then reads or refuses
        pixels = store.fill(key, [digests[i] for i in readable], make, shape=shape)
    return pixels, decoded


def _skipped(
    source: Source, digests: Sequence[str], failed: dict[int, DecodeError]
) -> tuple[Skipped, ...]:
    """What the source left out and what failed; a copy of what failed fails the same way."""
    of_content = {digests[i]: error for i, error in failed.items() if digests[i]}
    skipped = list(source.skipped)
    for i, item in enumerate(source.items):
        error = failed.get(i) or of_content.get(digests[i])
        if error is not None:
            skipped.append(Skipped(name=item.name, kind=error.kind, reason=error.reason))
    return tuple(sorted(skipped, key=lambda skip: skip.name))


def _stop_if_many(source: Source, skipped: Sequence[Skipped]) -> None:
    damaged = [
        skip
        for skip in skipped
        if skip.kind != "not_image" or PurePosixPath(skip.name).suffix.lower() in SUFFIXES
    ]
    count = len(source.items)
    if len(damaged) <= TOLERATED or len(damaged) <= TOLERATED_SHARE * count:
        return
    first = "".join(f"\n  {skip.name}: {skip.reason}" for skip in damaged[:10])
    more = f"\n  and {len(damaged) - 10:,} more" if len(damaged) > 10 else ""
    raise DataError(
        f"{len(damaged):,} of {count:,} images in {source.name} cannot be used; up to"
        f" {TOLERATED_SHARE:.0%} are skipped. Fetch or export them again, or move them out of the"
        f" class folders:{first}{more}"
    )


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    return {
        split: {
            name: int((dataset.labels[positions] == label).sum())
            for label, name in enumerate(dataset.classes)
        }
        for split, positions in dataset.splits.items()
    }


def _digest(
    items: Sequence[Item],
    contents: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    splits: Splits,
) -> str:
    part = {int(i): split for split, positions in splits.parts().items() for i in positions}
    lines = [
        f"{item.name}\0{content}\0{label}\0{part[i]}\n".encode()
        for i, (item, content, label) in enumerate(zip(items, contents, labels, strict=True))
    ]
    return blake2b(repr(tuple(classes)).encode(), *lines)
