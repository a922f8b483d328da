"""How much better are numbers on validation than on test, and how good an estimate are they?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset

UNKNOWN = (
    "The data names no patients: validation was drawn from train image by image, here or by "
    "whoever made the parts, and one patient's images may be in both; numbers on validation may "
    "be too good."
)


def gap_of(
    val: Mapping[str, Any] | None,
    test: Mapping[str, Any] | None,
    data: Dataset,
    *,
    part: str,
) -> dict[str, Any] | None:
    """Part `gap` of result.json; None where one of the two was not measured.

    Args:
        val: metrics as `search.scores.measured` gives them, of the images the winner was chosen on.
        test: likewise, of the test part.
        data: whose patients they are.
        part: `val`, or `folds` where fold models answered.

    Returns:
        `part`, `metrics`, as `xfer.evaluate.independent.gaps` gives them, and `caution`.
    """
    from xfer.evaluate.independent import gaps

    if val is None or test is None:
        return None
    return {"part": part, "metrics": gaps(val, test), "caution": caution_of(data)}


def caution_of(data: Dataset) -> str | None:
    """What makes validation no estimate at all, as a sentence; None where patients are known.

    Images whose patient nobody knows stand alone, under their own name: where all do, no cut that
    was made here or elsewhere can have kept patients apart.
    """
    return UNKNOWN if tuple(data.patients) == tuple(data.names) else None
