"""What do workers get: pixels in the store, labels, and who is in which part?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xfer.chunks import blake2b
from xfer.data.decoded import Progress, decode_source
from xfer.data.duplicates import Duplicates, look_through
from xfer.data.facts import Facts, read_facts
from xfer.data.items import SPLITS, Item, Skipped, Source, Split
from xfer.data.sources import open_source
from xfer.data.splits import Given, Splits, split_items
from xfer.errors import DataError
from xfer.pixels import Pixels
from xfer.recipe import Images
from xfer.store import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled pixels in three parts. Small to pickle: pixels stay in the store."""

    images: Images
    """What was asked for."""
    decoded: Mapping[str, Pixels]
    """By interpolation, `pixels` of all that were loaded."""
    interpolation: str
    """How the images of `pixels` were resized."""
    labels: np.ndarray
    """int64 (images,): positions in `classes`."""
    classes: tuple[str, ...]
    """Names; with a positive class two, the other one first."""
    positive: int | None
    """1, or None where every class is predicted."""
    splits: dict[str, np.ndarray]
    """`train`, `val` and `test`: int64 positions, ascending. What was taken out is in none."""
    names: tuple[str, ...]
    """Of images, as in the source."""
    image_digests: tuple[str, ...]
    """Of images: of what their files hold; "" of those that are sealed."""
    patients: tuple[str, ...]
    """Of images."""
    subgroups: tuple[str | None, ...]
    """Of images."""
    contents: str
    """Digest of names, contents, labels, classes and parts."""

    @property
    def pixels(self) -> Pixels:
        """(images, size, size, channels) of uint8; `pixels[indices]` copies a batch."""
        return self.decoded[self.interpolation]

    @property
    def digest(self) -> str:
        """Of `contents`, and of size, fit, channels and interpolation."""
        images = self.images
        seen = f"{self.contents} {images.size} {images.fit} {images.channels}"
        if self.interpolation != "bilinear":  # whose digest is older than the choice
            seen += f" {self.interpolation}"
        return blake2b(seen.encode())

    def interpolated(self, interpolation: str) -> Dataset:
        """The same with pixels that were resized otherwise, and a digest of its own.

        Raises:
            DataError: they were not loaded.
        """
        if interpolation not in self.decoded:
            raise DataError(
                f"the images were not decoded with {interpolation} interpolation, only with "
                f"{', '.join(self.decoded)}; load_dataset's interpolations must name it"
            )
        return replace(self, interpolation=interpolation)

    def without(self, part: str) -> Dataset:
        """The same with one part sealed: its positions, labels (-1) and digests ("") are gone."""
        labels = self.labels.copy()
        labels[self.splits[part]] = -1
        splits = {name: rows for name, rows in self.splits.items() if name != part}
        sealed = set(self.splits[part].tolist())
        digests = ("" if n in sealed else own for n, own in enumerate(self.image_digests))
        return replace(self, labels=labels, splits=splits, image_digests=tuple(digests))


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How loading went, for the screen and for what is written down."""

    source: str
    """Where the images are."""
    images: int
    """In the dataset, those that were taken out of their part included."""
    patients: int
    """Different ones; an image that stands alone is one."""
    unmatched: int
    """File names in which the patient pattern was not found."""
    skipped: tuple[Skipped, ...]
    """Files left out."""
    made: tuple[str, ...]
    """What was done to the parts, as sentences: what was cut, and then `removed`."""
    removed: tuple[str, ...]
    """What was taken out of which part, and why, as sentences."""
    marks: tuple[str, ...]
    """What has to stand beside every result, as sentences: parts were kept with their leaks."""
    origins: tuple[Split, ...]
    """By image, the part it was in before any was taken out."""
    copies: Duplicates
    """Images that are the same picture, by position."""
    light: np.ndarray
    """float64 (images, 2): mean and contrast of each image, seen in the same look at all pixels."""
    facts: Facts
    """What files say of themselves, by image."""
    notes: tuple[str, ...]
    """What else should be said on screen, as sentences."""
    counts: dict[str, dict[str, int]]
    """Images by split and class."""
    seconds: float
    """Wall time of all of it."""
    decode_seconds: float
    """Wall time of decoding and storing, or of waiting for who does."""
    images_decoded: int
    """By this process, for each interpolation anew; the others were in the store."""
    digest: str
    """Of names, contents, labels, classes and parts: what a resumed run has to find again."""

    def summary(self) -> dict[str, Any]:
        """Part `data` of `result.json`."""
        return {
            "images": self.images,
            "patients": self.patients,
            "skipped": len(self.skipped),
            "removed": self.images - sum(sum(part.values()) for part in self.counts.values()),
            "splits": self.counts,
        }


def load_dataset(
    images: Images,
    *,
    store: Store,
    seed: int = 0,
    progress: Progress | None = None,
    interpolations: Sequence[str] = ("bilinear",),
    given: Given = "clean",
    least: int = 0,
) -> tuple[Dataset, Loading]:
    """Lists, decodes once, leaves out what cannot be decoded, and splits.

    Copies, exact and near ones, count as one picture when parts are cleaned and cut.

    Args:
        images: where the images are and how they are looked at.
        store: where decoded images are kept.
        seed: of parts that have to be cut, and of images that are drawn.
        progress: told while decoding.
        interpolations: `bilinear`, `bicubic` or both; all are decoded, the dataset's own is the
            first.
        given: what becomes of the parts that come with the images, as in `split_items`.
        least: of the positive class, or of each, in val; as in `split_items`.

    Raises:
        DataError: the source cannot be used, or more than 5 % of the images, and more than three,
            are damaged, or a part would be without a class.
        StoreError: no room for the decoded images.
        ValueError: `interpolations` is empty or names another.
    """
    if not interpolations:
        raise ValueError("interpolations must name at least one, got none")
    start = time.monotonic()
    source = open_source(images, seed=seed)
    decoded = decode_source(
        source, images, store=store, interpolations=interpolations, progress=progress
    )
    items = [source.items[i] for i in decoded.kept]
    looked = look_through(decoded.pixels[interpolations[0]])
    facts = read_facts(source, decoded.kept)
    splits = split_items(
        items,
        seed=seed,
        positive=source.positive,
        classes=source.classes,
        same=looked.copies.same,
        given=given,
        least=least,
        test_share=images.test_share,
    )
    labels = np.array([item.label for item in items], dtype=np.int64)
    classes, positive = source.classes, None
    if source.positive is not None:
        labels = (labels == source.positive).astype(np.int64)
        classes, positive = _binary(source), 1
    digest = _digest(items, decoded.contents, labels, classes, splits)
    dataset = Dataset(
        images=images,
        decoded=decoded.pixels,
        interpolation=interpolations[0],
        labels=labels,
        classes=classes,
        positive=positive,
        splits=splits.parts(),
        names=tuple(item.name for item in items),
        image_digests=decoded.contents,
        patients=tuple(item.patient for item in items),
        subgroups=tuple(item.subgroup for item in items),
        contents=digest,
    )
    loading = Loading(
        source=source.name,
        images=len(items),
        patients=len(set(dataset.patients)),
        unmatched=source.unmatched,
        skipped=decoded.skipped,
        made=(*splits.made, *splits.removed),
        removed=splits.removed,
        marks=splits.marks,
        origins=_origins(items, splits),
        copies=looked.copies,
        light=looked.light,
        facts=facts,
        notes=source.notes,
        counts=_counts(dataset),
        seconds=time.monotonic() - start,
        decode_seconds=decoded.seconds,
        images_decoded=decoded.count,
        digest=digest,
    )
    return dataset, loading


def _binary(source: Source) -> tuple[str, str]:
    """Names of the two classes, the positive one last."""
    assert source.positive is not None
    name = source.classes[source.positive]
    others = [other for other in source.classes if other != name]
    return (others[0] if len(others) == 1 else f"not {name}", name)


def _origins(items: Sequence[Item], splits: Splits) -> tuple[Split, ...]:
    origins: list[Split] = [item.split or "train" for item in items]
    for split in SPLITS:
        for position in splits.parts()[split]:
            origins[position] = split
    return tuple(origins)


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
        f"{item.name}\0{content}\0{label}\0{part.get(i, '')}\n".encode()
        for i, (item, content, label) in enumerate(zip(items, contents, labels, strict=True))
    ]
    return blake2b(repr(tuple(classes)).encode(), *lines)
