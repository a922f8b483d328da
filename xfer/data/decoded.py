"""Which items of a source become pixels in the store, and why do the others not?"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import PIL

from xfer.data.decode import DECODER, SUFFIXES, DecodeError, decode_image
from xfer.data.items import Skipped, Source
from xfer.data.side_by_side import side_by_side
from xfer.errors import DataError
from xfer.pixels import Pixels
from xfer.recipe import Images
from xfer.store import Store

Progress = Callable[[int, int], None]
"""Told how many images are decoded, of how many; in the caller's thread."""

TOLERATED_SHARE, TOLERATED = 0.05, 3
"""More damaged files than both, and there is no training on what happens to be left."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A source's items as pixels in the store."""

    kept: tuple[int, ...]
    """Positions in the source of what could be decoded, ascending."""
    contents: tuple[str, ...]
    """Digests of their contents."""
    pixels: Mapping[str, Pixels]
    """Theirs, by interpolation."""
    skipped: tuple[Skipped, ...]
    """What the source left out, and what could not be decoded."""
    count: int
    """Images decoded by this process, for each interpolation anew; the others were in the store."""
    seconds: float
    """Wall time of decoding and storing, or of waiting for who does."""


def decode_source(
    source: Source,
    images: Images,
    *,
    store: Store,
    interpolations: Sequence[str],
    progress: Progress | None,
) -> Decoded:
    """Decodes what the store has not got yet, once for each interpolation.

    What cannot be decoded for one of them is left out of all.

    Raises:
        DataError: more than 5 % of the items, and more than three, are damaged.
        StoreError: no room for the decoded images.
    """
    failed: dict[int, DecodeError] = {}
    digests = _digests(source, failed)
    readable = [i for i in range(len(source.items)) if i not in failed]
    began = time.monotonic()
    filled: dict[str, Pixels] = {}
    count = 0
    for interpolation in interpolations:
        filled[interpolation], decoded = _fill(
            source,
            images,
            interpolation=interpolation,
            store=store,
            digests=digests,
            readable=readable,
            failed=failed,
            progress=_shifted(progress, len(filled), len(interpolations)),
        )
        count += decoded
    seconds = time.monotonic() - began
    skipped = _skipped(source, digests, failed)
    _stop_if_many(source, skipped)
    rows = np.flatnonzero(np.all([pixels.present for pixels in filled.values()], axis=0))
    kept = tuple(readable[row] for row in rows)
    taken = {name: pixels.take(rows) for name, pixels in filled.items()}
    for pixels in taken.values():
        pixels.opened  # noqa: B018  no other process evicts what is used only later
    return Decoded(
        kept=kept,
        contents=tuple(digests[i] for i in kept),
        pixels=taken,
        skipped=skipped,
        count=count,
        seconds=seconds,
    )


def _digests(source: Source, failed: dict[int, DecodeError]) -> list[str]:
    """Of every item's content; an empty one where it cannot be read, and why in `failed`."""
    digests = []
    for i, result in enumerate(side_by_side(source.digest, range(len(source.items)))):
        if isinstance(result, DecodeError):
            failed[i] = result
        digests.append("" if isinstance(result, DecodeError) else result)
    return digests


def _shifted(progress: Progress | None, before: int, rounds: int) -> Progress | None:
    """One of several rounds over the same images, told as a part of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(before * total + done, rounds * total)


def _fill(
    source: Source,
    images: Images,
    *,
    interpolation: str,
    store: Store,
    digests: Sequence[str],
    readable: Sequence[int],
    failed: dict[int, DecodeError],
    progress: Progress | None,
) -> tuple[Pixels, int]:
    """Pixels of the readable items, and how many had to be decoded."""
    decoded = 0

    def one(i: int) -> np.ndarray:
        return decode_image(
            source.read(i),
            size=images.size,
            fit=images.fit,
            channels=images.channels,
            interpolation=interpolation,
        )

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

    key: dict[str, Any] = {
        "what": "decoded image",
        "size": images.size,
        "fit": images.fit,
        "channels": images.channels,
        "decoder": DECODER,
        "pillow": PIL.__version__,
    }
    if interpolation != "bilinear":  # whose key is older than the choice: stores stay warm
        key["interpolation"] = interpolation
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
