"""Facts about files and their pixels as numbers, one row per image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from xfer.data.decode import DecodeError
from xfer.data.duplicates import Rows
from xfer.data.facts import Facts
from xfer.data.side_by_side import side_by_side

CONTENT = ("bytes", "bytes per pixel", "mean", "contrast")
"""Columns that depend on what is shown, too; all others say how a file was made."""
NAMED = ("mode ", "format ")
"""What the names of columns that are 1 or 0 begin with."""
_BATCH = 8
_LINES = 28
"""Lines of an image that its mean and contrast are taken from, at least, where it has as many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FactTable:
    """Facts as numbers, for a tree."""

    values: np.ndarray
    """float64 (images, facts), finite. Unknown is -1 for bytes and 0 for sizes."""
    names: tuple[str, ...]
    """Of the columns. `mode RGB` and `format PNG` are 1 or 0, the others amounts; `mean` and
    `contrast`, the standard deviation, are of the decoded pixels, in [0, 255]."""


def fact_table(facts: Facts, pixels: Rows, *, threads: int | None = None) -> FactTable:
    """Facts of files and of decoded pixels as one table.

    Args:
        facts: of the images.
        pixels: theirs, read once.
        threads: None: as many as there are cores.
    """
    size = np.maximum(facts.width * facts.height, 1)
    columns = {
        "width": facts.width,
        "height": facts.height,
        "aspect": facts.width / np.maximum(facts.height, 1),
    }
    for what, names in (("mode", facts.mode), ("format", facts.format)):
        for name in sorted(set(names)):
            columns[f"{what} {name or 'unknown'}"] = np.array([other == name for other in names])
    columns["JPEG quantization"] = facts.quantization
    columns["bytes"] = facts.bytes
    columns["bytes per pixel"] = np.where(facts.bytes < 0, -1, facts.bytes / size)
    columns["mean"], columns["contrast"] = _light(pixels, threads).T
    return FactTable(
        values=np.stack([np.asarray(c, dtype=np.float64) for c in columns.values()], axis=1),
        names=tuple(columns),
    )


def _light(pixels: Rows, threads: int | None) -> np.ndarray:
    """Mean and standard deviation of each image, (images, 2), over all channels together."""
    images, side = pixels.shape[:2]
    step = max(1, side // _LINES)
    levels = np.arange(256)

    def look(start: int) -> np.ndarray:
        batch = pixels[np.arange(start, min(start + _BATCH, images))]
        # A histogram is exact on every machine, and faster than NumPy's mean and deviation.
        counts = np.array(
            [
                Image.fromarray(lines.reshape(len(lines), -1)).histogram()
                for lines in batch[:, ::step]
            ]
        )
        total, squares = counts @ levels, counts @ levels**2
        count = counts.sum(axis=1)
        return np.stack([total / count, np.sqrt(count * squares - total**2) / count], axis=1)

    found = [np.empty((0, 2))]
    for result in side_by_side(look, range(0, images, _BATCH), threads=threads):
        assert not isinstance(result, DecodeError)  # nothing is decoded here
        found.append(result)
    return np.concatenate(found)
