"""How does one file, or one array, become a square of pixels, and what if it cannot?

The same function prepares images for training and for prediction. Rules, in order:

* Formats: those in `FORMATS`, told by content, never by the file's name. EPS and PDF, which run
  other programs, and formats without a signature stay out; so does AVIF, see below. Of an animation
  the first frame counts. DICOM is read by `xfer.data.dicom_pixels`, with the extra of that name.
* Limits: `MAX_BYTES` per file and `max_pixels()` per image (Pillow's own limit unless the
  environment variable XFER_MAX_PIXELS says otherwise) are checked before any pixel is decoded.
* EXIF orientation is applied; an EXIF block that cannot be read counts as none.
* Transparency is composited on black, which is what lies around a radiograph.
* 16-bit values are divided by 257, so that 0..65535 becomes 0..255 and nothing is clipped; so are
  32-bit integers, which have to lie in that range. Floats in [0, 1] are multiplied by 255, in
  [0, 255] taken as they are, in [0, 65535] divided by 257; others are refused.
* Made square by `xfer.data.square`. Deep images are rounded after that, and what a bicubic filter
  overshoots is clipped.

Memory: one file costs at most 96 MiB, 64 bytes for each pixel that `max_pixels()` allows, and twice
the file. 64 MiB of it are texts in a PNG, which Pillow unpacks; DICOM's colour of 32 bits needs 46
bytes a pixel with its file, transparent WEBP 30, others less. `xfer.data.guards` refuses what would
take more; tests/xfer/test_decode_fuzz.py measures. AVIF is not read because libavif decodes what
the stream holds, whatever its header says: a file of 3 KB took 520 MiB. DICOM that a package beside
pydicom decompresses is up to that package.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from xfer.data.dicom import DICOM, DICOM_SUFFIXES, EXTRA, begins_as_dicom, can_read_dicom, is_dicom
from xfer.data.guards import Costly, check_bytes, check_tiles
from xfer.data.square import FILTERS, FITS, to_square
from xfer.errors import DataError

Kind = Literal["unreadable", "not_image", "oversized"]

DECODER = 2
"""Goes up when the same bytes would become other pixels: part of the store's key."""
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""By Pillow's names; multi-picture JPEGs come under JPEG."""
# fmt: off
SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".jp2", ".j2k", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp", *DICOM_SUFFIXES,
))
# fmt: on
"""Endings that promise an image; what has one and is none counts as damage, not as clutter."""
MAX_BYTES = 256 * 2**20
"""A larger file is not read at all."""
_PILLOW_LIMIT = 89_478_485  # 256 MiB of RGB: Pillow's default, whatever Pillow's global says now

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what undoes it (EXIF 2.32, tag 0x0112)."""


class DecodeError(DataError):
    """One image cannot be used; `kind` and `reason` say why."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind: Kind = kind
        self.reason = reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[Kind, str]]:
        return type(self), (self.kind, self.reason)


def max_pixels() -> int:
    """Pixels above which an image is refused: XFER_MAX_PIXELS, or Pillow's 89,478,485.

    Raises:
        DataError: XFER_MAX_PIXELS is not a whole number above 0.
    """
    text = os.environ.get("XFER_MAX_PIXELS")
    if text is None:
        return _PILLOW_LIMIT
    if not text.isdecimal() or int(text) < 1:
        raise DataError(f"XFER_MAX_PIXELS must be a whole number above 0, got {text!r}.")
    return int(text)


def read_image_file(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        DecodeError: no regular file, empty, over `MAX_BYTES`, or not readable.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would make the reader wait for ever
            raise DecodeError("not_image", "not a regular file")
        if status.st_size > MAX_BYTES:
            raise DecodeError(
                "oversized", f"{status.st_size:,} bytes; at most {MAX_BYTES:,} are read"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise DecodeError("unreadable", error.strerror or str(error)) from None
    if not raw:
        raise DecodeError("unreadable", "the file is empty")
    return raw


def looks_like_image(path: Path) -> bool:
    """Whether the file begins as DICOM or one of `FORMATS`; one too large to decode still does."""
    if is_dicom(path):
        return True
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True
    except Exception:  # Pillow's readers raise almost anything on what is not theirs
        return False


def decode_image(
    raw: bytes | np.ndarray,
    *,
    size: int,
    fit: str = "squash",
    channels: int = 3,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """One image as the models see it.

    Args:
        raw: a file's bytes, or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) of uint8, uint16
            or floats.
        size: side of the result, in pixels.
        fit: how another shape becomes square: `squash`, `pad` or `crop`.
        channels: 1 for gray, 3 for colour (gray images three times).
        interpolation: `bilinear` or `bicubic`.

    Returns:
        uint8 (size, size, channels), contiguous.

    Raises:
        DecodeError: whatever is wrong with the image; nothing else is raised because of one.
        ValueError: `fit`, `channels` or `interpolation` is not one of the above.
    """
    if fit not in FITS:
        raise ValueError(f"fit must be one of {', '.join(FITS)}, got {fit!r}")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels!r}")
    if interpolation not in FILTERS:
        known = ", ".join(FILTERS)
        raise ValueError(f"interpolation must be one of {known}, got {interpolation!r}")
    limit = max_pixels()
    try:
        image = _from_array(raw, limit) if isinstance(raw, np.ndarray) else _from_bytes(raw, limit)
        image = _to_channels(image, channels)
        square = to_square(image, size=size, fit=fit, interpolation=interpolation)
        return _to_pixels(square, channels)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise DecodeError("not_image", f"no image in a format read here ({known}, DICOM)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError("oversized", str(error)) from None
    except MemoryError:
        raise DecodeError("oversized", "it needs more memory than there is") from None
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise DecodeError("unreadable", str(error) or type(error).__name__) from None


def check_pixels(width: int, height: int, limit: int) -> None:
    """Raises DecodeError where an image has more pixels than that, or none."""
    if width * height > limit:
        raise DecodeError(
            "oversized",
            f"{width:,} x {height:,} = {width * height:,} pixels; at most {limit:,} are decoded"
            " (XFER_MAX_PIXELS raises the limit)",
        )
    if width * height == 0:
        raise DecodeError("unreadable", f"{width} x {height}: it has no pixels")


def open_image(raw: bytes, limit: int, *, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """An image that is within all limits, by its header; its pixels are not decoded yet.

    Raises:
        DecodeError: it is over one of them.
        Exception: almost any, on damaged files.
    """
    guard = Image.MAX_IMAGE_PIXELS
    if guard is not None and limit > guard:  # somebody asked for more than Pillow would open
        Image.MAX_IMAGE_PIXELS = limit
    try:
        check_bytes(raw)
        image = Image.open(io.BytesIO(raw), formats=formats)
        check_pixels(*image.size, limit)
        check_tiles(image, raw, limit)
    except Costly as error:
        raise DecodeError("oversized", str(error)) from None
    return image


def _from_bytes(raw: bytes, limit: int) -> Image.Image:
    if not raw:
        raise DecodeError("unreadable", "the file is empty")
    if begins_as_dicom(raw):
        if not can_read_dicom():
            raise DecodeError("unreadable", f"{DICOM}, and {EXTRA}")
        from xfer.data.dicom_pixels import read_dicom

        return read_dicom(raw, limit)
    image = open_image(raw, limit)
    image.load()
    turn = _TRANSPOSE.get(_orientation(image))
    image = image if turn is None else image.transpose(turn)
    if image.mode.startswith("I") or image.mode == "F":  # I, I;16, I;16B, ...
        deep = image if image.mode == "F" else image.convert("I")
        return Image.fromarray(_to_range(np.asarray(deep)))
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # the pixels are fine, and no viewer refuses them for this
        return 1


def _from_array(array: np.ndarray, limit: int) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise DecodeError("not_image", f"an array of shape {array.shape} is no image")
    check_pixels(array.shape[1], array.shape[0], limit)
    if array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    if array.ndim == 3:
        raise DecodeError("unreadable", f"colour must be uint8, got {array.dtype}")
    if array.dtype.kind not in "uif":
        raise DecodeError("not_image", f"an array of {array.dtype} is no image")
    return Image.fromarray(_to_range(array))


def _to_range(values: np.ndarray) -> np.ndarray:
    """Deep gray values as float32 in [0, 255], by the rules at the top of this file."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DecodeError("unreadable", "it holds values that are not finite")
    if low < 0 or high > 65_535:
        raise DecodeError("unreadable", f"values from {low:g} to {high:g}; 0 to 65535 can be used")
    if values.dtype.kind != "f":
        scale = 1 / 257
    elif high <= 1:
        scale = 255.0
    else:
        scale = 1.0 if high <= 255 else 1 / 257
    return values.astype(np.float32) * np.float32(scale)


def _to_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image in mode L or RGB; one in mode F, which is in [0, 255], as it is."""
    if image.mode == "F":
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image).convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    if channels == 1 and image.mode == "RGB":
        image = image.convert("L")
    return image


def _to_pixels(square: Image.Image, channels: int) -> np.ndarray:
    pixels = np.asarray(square)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels).clip(0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], channels, axis=2)
    return np.ascontiguousarray(pixels)
