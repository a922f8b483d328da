"""Facts about files and their pixels as numbers, one row per image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfer.data.facts import Facts

CONTENT = ("bytes", "bytes per pixel", "mean", "contrast")
"""Columns that depend on what is shown, too; all others say how a file was made."""
NAMED = ("mode ", "format ")
"""What the names of columns that are 1 or 0 begin with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FactTable:
    """Facts as numbers, for a tree."""

    values: np.ndarray
    """float64 (images, facts), finite. Unknown is -1 for bytes and 0 for sizes."""
    names: tuple[str, ...]
    """Of the columns. `mode RGB` and `format PNG` are 1 or 0, the others amounts; `mean` and
    `contrast`, the standard deviation, are of the decoded pixels, in [0, 255]."""


def fact_table(facts: Facts, light: np.ndarray) -> FactTable:
    """Facts of files and of decoded pixels as one table.

    Args:
        facts: of the images.
        light: (images, 2), mean and contrast of their pixels, as `xfer.data.light` gives them.
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
    if (facts.header >= 0).any():
        columns["bytes of the header"] = facts.header
    columns["bytes"] = facts.bytes
    columns["bytes per pixel"] = np.where(facts.bytes < 0, -1, facts.bytes / size)
    columns["mean"], columns["contrast"] = light.T
    return FactTable(
        values=np.stack([np.asarray(c, dtype=np.float64) for c in columns.values()], axis=1),
        names=tuple(columns),
    )
