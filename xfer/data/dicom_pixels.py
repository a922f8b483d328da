"""Which gray or colour does a DICOM file mean?

In the order of DICOM PS3.3, C.11 and C.7.6.3, for files of one frame:

* Stored values are what BitsStored and PixelRepresentation say.
* Modality: the lookup table, or RescaleSlope and RescaleIntercept.
* Values of interest: the first VOI lookup table, else the first window (LINEAR, LINEAR_EXACT or
  SIGMOID). Without either black is the lowest value that BitsStored allows, after the modality's
  step, and white the highest: nothing is clipped.
* MONOCHROME1 is turned round last, so that high values are bright in every image.
* PALETTE COLOR and YBR become RGB of 8 bits. Gray stays deep until it has been made square.

Not followed: tags inside functional groups, overlays, and PixelPaddingValue. Many frames are
refused: which of them is the image nobody said. Private tags are not looked at.
"""

from __future__ import annotations

import io
from itertools import pairwise
from math import prod
from struct import unpack_from
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
from PIL import Image

from xfer.data.decode import DecodeError, check_pixels, open_image
from xfer.data.dicom import FewReads, check_header, quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_TAGS = [
    "Modality", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept",
    "RescaleSlope", "ModalityLUTSequence", "VOILUTSequence", "PixelData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
]  # fmt: skip
"""All that is read. Segmented palettes are not: a few bytes of one can ask for any memory."""
_MOST_BITS = 32
_PIXEL_DATA = 0x7FE00010
_RLE = "1.2.840.10008.1.2.5"
_BY_PILLOW = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
)
"""Transfer syntaxes whose frames are files to Pillow: JPEG of 8 bits, and JPEG 2000."""


def read_size(raw: bytes) -> tuple[int, int, str, int]:
    """Width, height, mode such as `MONOCHROME1 12`, and bytes of pixels, from the header.

    Without it 0, 0, empty and -1; bytes of pixels are -1 where pixels are compressed, too.
    """
    sizes = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames")
    names = (*sizes, "PhotometricInterpretation", "BitsStored")
    try:
        from pydicom.filereader import read_partial
        from pydicom.tag import Tag

        with quiet():
            file = cast("BinaryIO", FewReads(io.BytesIO(raw)))
            check_header(file)
            # Pixels come last, and are not read.
            header = read_partial(
                file,
                stop_when=lambda tag, vr, length: tag >= _PIXEL_DATA,
                specific_tags=[Tag(name) for name in names],
            )
            mode = f"{header.get('PhotometricInterpretation', '')} {header.get('BitsStored', '')}"
            syntax = header.file_meta.TransferSyntaxUID
            pixels = -1
            if not (syntax.is_compressed or syntax.is_deflated):
                bits = prod(int(header.get(name) or 1) for name in sizes)
                pixels = (bits + 15) // 16 * 2  # of an even number of bytes
            return int(header["Columns"].value), int(header["Rows"].value), mode.strip(), pixels
    except Exception:  # pydicom raises almost anything on damaged files, and may not be there
        return 0, 0, "", -1


def read_dicom(raw: bytes, limit: int) -> Image.Image:
    """The image in mode L, RGB, or F in [0, 255].

    Args:
        raw: the file's bytes.
        limit: pixels above which nothing is decoded.

    Raises:
        DecodeError: too many pixels or frames, none, or a compression that nothing here reads.
        Exception: almost any, on damaged files.
    """
    import pydicom

    with quiet(), np.errstate(all="ignore"):
        file = cast("BinaryIO", FewReads(io.BytesIO(raw)))
        syntax = check_header(file)
        dataset = pydicom.dcmread(file, specific_tags=_TAGS)
        _check(dataset, limit)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            _check_compressed(dataset, syntax, limit)
        stored = _stored(dataset)
        kind = dataset.PhotometricInterpretation
        if kind == "PALETTE COLOR":
            return Image.fromarray(_palette(stored, dataset))
        if stored.ndim == 3:
            return Image.fromarray(_to_bytes(stored, dataset.BitsStored))
        if kind not in ("MONOCHROME1", "MONOCHROME2"):
            raise DecodeError("unreadable", f"PhotometricInterpretation {kind!r} with one sample")
        gray = _gray(stored, dataset)
        return Image.fromarray(255 - gray if kind == "MONOCHROME1" else gray)


def _check(dataset: Dataset, limit: int) -> None:
    """Refuses by the header what is no image, or too large."""
    if "PixelData" not in dataset:
        modality = dataset.get("Modality") or "unknown"
        raise DecodeError("not_image", f"DICOM without pixel data (modality {modality})")
    check_pixels(int(dataset.Columns), int(dataset.Rows), limit)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DecodeError(
            "unreadable", f"it has {frames:,} frames; one is read: export the one that counts"
        )
    if dataset.BitsAllocated > _MOST_BITS:
        raise DecodeError(
            "unreadable", f"BitsAllocated is {dataset.BitsAllocated}; up to {_MOST_BITS} are read"
        )


def _check_compressed(dataset: Dataset, syntax: str, limit: int) -> None:
    """Refuses what nothing here decompresses, or what would become more than Rows x Columns."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.decoders.base import get_decoder

    name = dataset.file_meta.TransferSyntaxUID.name
    decoder = get_decoder(syntax)
    deep = syntax == _BY_PILLOW[1] and dataset.BitsStored > 8 and _only_pillow(decoder)
    if not decoder.is_available or deep:
        needs = "; ".join(decoder.missing_dependencies)
        raise DecodeError(
            "unreadable", f"its pixels are compressed as {name}; to read them: {needs}"
        )
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    columns, rows = int(dataset.Columns), int(dataset.Rows)
    if syntax in _BY_PILLOW:
        width, height = open_image(frame, limit, formats=("JPEG", "JPEG2000")).size
        if (width, height) != (columns, rows):
            raise DecodeError(
                "unreadable",
                f"it says {columns} x {rows} pixels, and its {name} frame {width} x {height}",
            )
    elif syntax == _RLE:
        count = unpack_from("<L", frame)[0]
        ends = [*unpack_from(f"<{count}L", frame, 4), len(frame)]
        for start, end in pairwise(ends):
            _check_runs(frame[start:end], 2 * rows * columns + 1024)


def _only_pillow(decoder: object) -> bool:
    return getattr(decoder, "available_plugins", ()) == ("pillow",)


def _check_runs(segment: bytes, most: int) -> None:
    """Refuses a run-length segment that becomes more than `most` bytes (PS3.5, annex G)."""
    at = length = 0
    while at < len(segment):
        head = segment[at]
        length += 257 - head if head > 128 else head + 1 if head < 128 else 0
        at += 2 if head > 128 else head + 2 if head < 128 else 1
        if length > most:
            raise DecodeError("unreadable", "its run lengths make more pixels than it says it has")


def _stored(dataset: Dataset) -> np.ndarray:
    """(rows, columns) or (rows, columns, 3), of the range that BitsStored allows."""
    from pydicom.pixels.utils import pixel_array

    try:
        stored = pixel_array(dataset)
    except RuntimeError as error:  # of several lines, one for each plugin that failed
        raise DecodeError("unreadable", " ".join(str(error).split())) from None
    shape = (int(dataset.Rows), int(dataset.Columns))
    if stored.shape not in (shape, (*shape, 3)):
        raise DecodeError("unreadable", f"it says {shape}, and its pixels are {stored.shape}")
    return stored


def _to_bytes(values: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned values of so many bits as uint8, rounded."""
    if bits == 8:
        return values.astype(np.uint8)
    scaled = values.astype(np.float32)
    scaled *= 255 / (2**bits - 1)
    return np.rint(scaled, out=scaled).clip(0, 255).astype(np.uint8)


def _palette(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    colour = apply_color_lut(stored, dataset)[..., :3]
    depth = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    return _to_bytes(colour, depth if colour.dtype != np.uint8 else 8)


def _gray(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Brightness by modality and values of interest: float32 in [0, 255], or the stored bytes."""
    values, low, high = _modality(stored, dataset)
    if dataset.get("VOILUTSequence"):
        from pydicom.pixels.processing import apply_voi

        depth = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        whole = values if values.dtype.kind in "ui" else np.rint(values).astype(np.int32)
        found = apply_voi(whole, dataset).astype(np.float32)
        return (found * np.float32(255 / (2**depth - 1))).clip(0, 255)
    center, width = (_first(dataset, tag) for tag in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None:
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
        return _window(values.astype(np.float32), center, width, function)
    if (values.dtype, low, high) == (np.uint8, 0, 255):
        return values
    scaled = values.astype(np.float32)
    scaled -= low
    scaled *= 255 / (high - low)
    return scaled


def _modality(stored: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, float, float]:
    """Values after the modality's step, and the lowest and highest that there can be."""
    bits = int(dataset.BitsStored)
    signed = dataset.PixelRepresentation == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if dataset.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        depth = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])
        return apply_modality_lut(stored, dataset), 0, 2**depth - 1
    slope, intercept = (_first(dataset, tag) for tag in ("RescaleSlope", "RescaleIntercept"))
    if slope is None or intercept is None or (slope, intercept) == (1, 0):
        return stored, low, high
    if slope == 0:
        raise DecodeError("unreadable", "RescaleSlope is 0: all pixels would be the same")
    values = stored.astype(np.float32)
    values *= slope
    values += intercept
    ends = low * slope + intercept, high * slope + intercept
    return values, min(ends), max(ends)


def _window(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """PS3.3, C.11.2.1.2 and C.11.2.1.3, with 0 and 255 as the output's ends; in place."""
    least = 1 if function == "LINEAR" else 0
    if width < least or width == 0:
        allowed = "at least 1" if least else "above 0"
        raise DecodeError("unreadable", f"WindowWidth must be {allowed}, got {width:g}")
    if function == "SIGMOID":
        values -= center
        values *= -4 / width
        return 255 / (1 + np.exp(values, out=values))
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise DecodeError("unreadable", f"VOILUTFunction {function!r} is not known")
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return np.where(values > center, np.float32(255), np.float32(0))
    values -= center
    values *= 255 / width
    values += 127.5
    return values.clip(0, 255, out=values)


def _first(dataset: Dataset, tag: str) -> float | None:
    """The first value of a tag that has numbers; None where it has none."""
    value = dataset.get(tag)
    if isinstance(value, (list, tuple)) or hasattr(value, "__getitem__"):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    number = float(value)
    if not abs(number) < 1e15:
        raise DecodeError("unreadable", f"{tag} is {number:g}")
    return number
