"""What do files say of themselves before a pixel is looked at, and do their names say the same?"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from xfer.data.builtin import PREFIX
from xfer.data.decode import FORMATS, DecodeError, max_pixels
from xfer.data.dicom import begins_as_dicom
from xfer.data.dicom_pixels import read_size
from xfer.data.findings import Finding
from xfer.data.items import Source
from xfer.data.side_by_side import side_by_side

_PROMISED = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp", ".dib"),
    "DICOM": (".dcm", ".dicom"),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
    "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_FORMAT_OF = {suffix: name for name, suffixes in _PROMISED.items() for suffix in suffixes}
_BATCH = 16  # a file takes .1 ms, and so does handing it to a thread


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """One entry per image, in the dataset's order. Unknown is 0 pixels, -1 bytes and no name."""

    width: np.ndarray
    """int64 (images,): pixels, as the file's header or the array has them, before EXIF turns it."""
    height: np.ndarray
    """int64 (images,): the same."""
    bytes: np.ndarray
    """int64 (images,): of the file; -1 for what is no file."""
    mode: tuple[str, ...]
    """Pillow's: `L`, `RGB`, `I;16`, ...; of an array `uint8`, or `uint8 x 3` with 3 channels; of
    DICOM `MONOCHROME2` and the like, with the bits that are stored."""
    format: tuple[str, ...]
    """Pillow's, by content: `JPEG`, `PNG`, ...; or `DICOM`; empty for arrays, and for what neither
    can name."""
    quantization: np.ndarray
    """int64 (images,): sum of a JPEG's first quantization table: the coarser, the larger, and 64 at
    the finest; 0 for what is no JPEG. It says how a file was saved, whatever it shows."""
    misnamed: np.ndarray
    """bool (images,): the name's suffix promises another format than the content has. A name
    without a suffix, or with an unknown one, promises nothing."""
    header: np.ndarray
    """int64 (images,): of a DICOM file that is not compressed, bytes that are not pixels: with them
    and its size all its bytes are known, whatever it shows; -1 for any other."""


class _Fact(NamedTuple):
    width: int = 0
    height: int = 0
    bytes: int = -1
    mode: str = ""
    format: str = ""
    quantization: int = 0
    misnamed: bool = False
    header: int = -1


def read_facts(source: Source, kept: Sequence[int], *, threads: int | None = None) -> Facts:
    """Facts of some of a source's items, from their headers alone.

    Nothing is decoded, and nothing fails: of a file that is gone or cannot be named all is unknown
    that cannot be had. Built-in images are no files, and would have to be drawn again to be
    measured (6 ms each): all is unknown.

    Args:
        source: lists the items.
        kept: positions in `source.items`: the dataset's images in its order.
        threads: None: as many as there are cores.

    Raises:
        DataError: XFER_MAX_PIXELS is not a whole number above 0.
    """
    limit, guard = max_pixels(), Image.MAX_IMAGE_PIXELS
    if guard is not None and limit > guard:  # all were decoded, maybe by another process
        Image.MAX_IMAGE_PIXELS = limit

    def look(start: int) -> list[_Fact]:
        if source.name.startswith(PREFIX):
            return [_Fact()] * len(kept[start : start + _BATCH])
        return [_fact(source, i) for i in kept[start : start + _BATCH]]

    facts: list[_Fact] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about headers that it then reads or refuses
        for result in side_by_side(look, range(0, len(kept), _BATCH), threads=threads):
            assert not isinstance(result, DecodeError)  # `_fact` has caught it
            facts += result
    return Facts(
        width=np.array([fact.width for fact in facts], dtype=np.int64),
        height=np.array([fact.height for fact in facts], dtype=np.int64),
        bytes=np.array([fact.bytes for fact in facts], dtype=np.int64),
        mode=tuple(fact.mode for fact in facts),
        format=tuple(fact.format for fact in facts),
        quantization=np.array([fact.quantization for fact in facts], dtype=np.int64),
        misnamed=np.array([fact.misnamed for fact in facts], dtype=bool),
        header=np.array([fact.header for fact in facts], dtype=np.int64),
    )


def _promised(name: str) -> str | None:
    """The format that a name's suffix promises; a name that begins with its only dot has none."""
    before, _, suffix = name.rpartition("/")[2].rpartition(".")
    return _FORMAT_OF.get(f".{suffix.lower()}") if before else None


def _fact(source: Source, i: int) -> _Fact:
    try:
        raw = source.read(i)
    except DecodeError:
        return _Fact()
    if isinstance(raw, np.ndarray):
        height, width = (*raw.shape[:2], 0, 0)[:2]
        channels = f" x {raw.shape[2]}" if raw.ndim == 3 and raw.shape[2] > 1 else ""
        return _Fact(width, height, mode=f"{raw.dtype}{channels}")
    promised = _promised(source.items[i].name)
    if begins_as_dicom(raw):
        width, height, mode, pixels = read_size(raw)
        header = max(len(raw) - pixels, -1) if pixels >= 0 else -1
        misnamed = promised not in (None, "DICOM")
        return _Fact(width, height, len(raw), mode, "DICOM", 0, misnamed, header)
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            width, height = image.size
            mode, name = image.mode, image.format or ""
            tables = getattr(image, "quantization", None)
    except Exception:  # Pillow's readers raise almost anything on what is not theirs
        return _Fact(bytes=len(raw), misnamed=promised is not None)
    first = sum(tables[min(tables)]) if tables else 0
    is_format = "JPEG" if name == "MPO" else name
    return _Fact(width, height, len(raw), mode, name, first, promised not in (None, is_format))


def statistics(facts: Facts, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Part `files` of `audit.json`: of all images, and by class.

    Args:
        facts: of the images.
        labels: int64 (images,), positions in `classes`.
        classes: names.

    Returns:
        `all`, and `classes` by name, each with `images`; `width`, `height` and `bytes` as `least`,
        `median` and `largest`, None where it is known of no image; `sizes`, how many different
        ones; and `modes` and `formats`, images by name, the most frequent first.
    """
    return {
        "all": _summary(facts, np.arange(len(facts.width))),
        "classes": {
            name: _summary(facts, np.flatnonzero(labels == label))
            for label, name in enumerate(classes)
        },
    }


def _summary(facts: Facts, rows: np.ndarray) -> dict[str, Any]:
    width, height = facts.width[rows], facts.height[rows]
    known = width > 0
    sizes = np.stack([width, height], axis=1)[known]
    return {
        "images": len(rows),
        "width": _spread(width[known]),
        "height": _spread(height[known]),
        "bytes": _spread(facts.bytes[rows][facts.bytes[rows] >= 0]),
        "sizes": len(np.unique(sizes, axis=0)),
        "modes": _counts([facts.mode[i] for i in rows.tolist()]),
        "formats": _counts([facts.format[i] for i in rows.tolist()]),
    }


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    least, median, largest = int(values.min()), float(np.median(values)), int(values.max())
    return {"least": least, "median": median, "largest": largest}


def _counts(names: Sequence[str]) -> dict[str, int]:
    """What is unknown, or of no file, is not counted."""
    different, counts = np.unique([name for name in names if name], return_counts=True)
    by_count = sorted(zip((-counts).tolist(), different.tolist(), strict=True))
    return {name: -count for count, name in by_count}


def misnamed_finding(facts: Facts, names: Sequence[str]) -> Finding | None:
    """Files whose suffix promises another format; None: there are none.

    Args:
        facts: of the images.
        names: theirs, as `Dataset.names`.
    """
    rows = np.flatnonzero(facts.misnamed)
    if not len(rows):
        return None
    return Finding(
        kind="misnamed",
        count=len(rows),
        examples=tuple(
            f"{names[i]}: it is {facts.format[i] or 'no format read here'}" for i in rows.tolist()
        ),
        effect="They are read by their content, and nothing is lost here; programs that go by"
        " the name fail on them, and formats that differ by class can give the class away.",
        action="Name these files by their format.",
    )
