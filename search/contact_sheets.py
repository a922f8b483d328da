"""How does what a trial's training sees become a picture in TensorBoard? At its start, once."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto import summary_pb2

from search.trials import trial_seed
from xfer.recipe import from_json

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset

log = logging.getLogger(__name__)

SHEET_TAG = "images/augmented"
"""Of the picture: originals on top, what training sees of them below."""

Sheet = Callable[[int, Mapping[str, Any]], Any]
"""Given a trial's number and its recipe, as `xfer.recipe.to_json` gives it: what training sees of
some images, uint8 (height, width, 3), or None where it sees them as they are."""

_Summary: Any = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]


def sheet_summary(sheet: Sheet, number: int, recipe: Mapping[str, Any]) -> Any | None:
    """The trial's sheet as a summary with a PNG; None where there is none to show.

    Whatever goes wrong is logged and no more: a picture less is no reason to end a search.

    Args:
        sheet: what makes it.
        number: of the trial.
        recipe: of the trial, as JSON.
    """
    from PIL import Image

    try:
        pixels = sheet(number, recipe)
        if pixels is None:
            return None
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        height, width, channels = pixels.shape
        image = _Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=file.getvalue()
        )
        return _Summary(value=[_Summary.Value(tag=SHEET_TAG, image=image)])
    except Exception as error:
        log.warning(
            "TensorBoard gets no images of trial %d: %s: %s", number, type(error).__name__, error
        )
        return None


def sheet_of(data: Dataset, *, seed: int) -> Sheet:
    """What makes a sheet: of a search's images, drawn as the trial's training draws them.

    Args:
        data: with pixels for every model of the space.
        seed: the study's.
    """
    from xfer.contact_sheet import contact_sheet
    from xfer.models.interpolation import interpolation_of

    def sheet(number: int, recipe: Mapping[str, Any]) -> Any:
        seen = from_json(recipe)
        pixels = data.interpolated(interpolation_of(seen.model))
        return contact_sheet(seen, pixels, seed=trial_seed(seed, number))

    return sheet
