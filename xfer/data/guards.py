"""Which files would cost far more than their pixels do?

Checked on a file's bytes, before a decoder sees them. The numbers in brackets are what one file
cost without the check (Pillow 13.0; tests/xfer/test_decode_fuzz.py makes these files).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from struct import error, unpack_from

from PIL import Image

MOST_SCANS = 256
"""Of a JPEG; encoders write 10 or so. Each is a pass over all pixels, and needs 12 bytes. [.8 ms a
scan and million pixels: hours for a file of 256 MiB]"""
MOST_ENTRIES = 4_096
"""In the directory of a TIFF; some dozens are usual."""
MOST_STRIPS = 65_536
"""And tiles, of a TIFF: each is an object to Pillow. [8 MB of offsets: 540 MB and 18 s]"""
MOST_NUMBERS = 2**18
"""In one entry of a TIFF; a palette of 16 bits has 196,608."""
FEWEST_TILES, TILE_PIXELS = 1_024, 1_024
"""A JPEG 2000 may have so many tiles, and one more for so many of its pixels. [62,500 tiles of 4 x
4 pixels: 780 MB, 12 kB each]"""
FEWEST_PRECINCTS, PRECINCT_PIXELS = 4_096, 64
"""Likewise its precincts, over all resolutions and components. [1.3 million: 930 MB and 13 s]"""
MOST_SEGMENTS = 200_000
"""Of all its headers together: they are walked through one by one."""

_COD, _COC, _SOT, _SOD = 0x52, 0x53, 0x90, 0x93
_OF_NUMBERS = frozenset((3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 18))
"""Types of TIFF entries that become Python numbers: all but bytes and text."""
_STRIPS = frozenset((273, 279, 324, 325))
_TILE_SIDES = (322, 323)


class Costly(Exception):
    """What would decode at a price that its pixels do not explain; the text says which."""


def check_bytes(raw: bytes) -> None:
    """Refuses by a file's bytes, before anything else reads them.

    Raises:
        Costly: a JPEG of too many scans, a TIFF of too many strips.
    """
    if raw.startswith(b"\xff\xd8"):
        scans = raw.count(b"\xff\xda")  # in pixels' data a byte ff is followed by 00
        if scans > MOST_SCANS:
            raise Costly(f"it has {scans:,} scans; at most {MOST_SCANS} are read")
    if raw.startswith((b"II", b"MM")):
        for tag, kind, count in _entries(raw):
            most = MOST_STRIPS if tag in _STRIPS else MOST_NUMBERS
            if count > most and (tag in _STRIPS or kind in _OF_NUMBERS):
                raise Costly(f"its tag {tag} has {count:,} numbers; at most {most:,} are read")


def check_tiles(image: Image.Image, raw: bytes, limit: int) -> None:
    """Refuses by the tiles of an image whose header is read, and whose pixels are not.

    Raises:
        Costly: a TIFF's tile has more pixels than an image may have; a JPEG 2000 has too many.
    """
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        width, height = (tags.get(side, 0) for side in _TILE_SIDES)
        if width * height > limit:
            raise Costly(
                f"its tiles have {width:,} x {height:,} pixels; at most {limit:,} are decoded"
            )
    if image.format == "JPEG2000":
        pixels = math.prod(image.size)
        most = FEWEST_TILES + pixels // TILE_PIXELS
        for tiles in _tiles(raw):
            if tiles > most:
                raise Costly(f"it has {tiles:,} tiles; {most:,} are read at its size")
        most = FEWEST_PRECINCTS + pixels // PRECINCT_PIXELS
        for precincts in _precincts(raw, *image.size, len(image.getbands())):
            if precincts > most:
                raise Costly(f"it has {precincts:,} precincts; {most:,} are read at its size")


def _entries(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Tag, type and count of a TIFF's first directory, as far as there are any."""
    order = "<" if raw.startswith(b"II") else ">"
    try:
        big = unpack_from(order + "H", raw, 2)[0] == 43
        at = unpack_from(order + ("Q" if big else "L"), raw, 8 if big else 4)[0]
        entries = unpack_from(order + ("Q" if big else "H"), raw, at)[0]
        if entries > MOST_ENTRIES:
            raise Costly(
                f"its directory has {entries:,} entries; at most {MOST_ENTRIES:,} are read"
            )
        for i in range(entries):
            place = at + (8 + 20 * i if big else 2 + 12 * i)
            tag, kind, count = unpack_from(order + ("HHQ" if big else "HHL"), raw, place)
            yield tag, kind, count
    except (error, OverflowError):  # beyond its end, which Pillow will tell
        return


def _tiles(raw: bytes) -> Iterator[int]:
    """By each SIZ marker (ISO 15444-1, A.5.1) that there is, wherever boxes put it."""
    for found in re.finditer(b"\xff\x4f\xff\x51", raw):
        try:
            right, bottom, _, _, wide, high, left, top = unpack_from(">8L", raw, found.end() + 4)
        except error:
            continue
        if wide and high:
            yield max(0, -(-(right - left) // wide)) * max(0, -(-(bottom - top) // high))


def _precincts(raw: bytes, width: int, height: int, components: int) -> Iterator[int]:
    """By each COD and COC marker (A.6.1, A.6.2), as if it were for all components and tiles."""
    for kind, body in _segments(raw):
        flags, style = (body[:1], body[5:]) if kind == _COD else (body[1:2], body[2:])
        if flags and flags[0] & 1 and style and style[0] <= 32:
            levels = style[0]
            yield components * sum(
                -(-width // 2 ** (levels - level + (size & 15)))
                * -(-height // 2 ** (levels - level + (size >> 4)))
                for level, size in enumerate(style[5 : levels + 6])
            )


def _segments(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """COD and COC in every main header and every tile's."""
    left = MOST_SEGMENTS
    for begin in re.finditer(b"\xff\x4f(?=\xff\x51)|\xff\x90(?=\0\x0a)", raw):
        at = begin.end() if begin[0] == b"\xff\x4f" else begin.end() + 10
        while at + 4 <= len(raw) and raw[at] == 0xFF and raw[at + 1] not in (_SOD, _SOT):
            kind, length = raw[at + 1], unpack_from(">H", raw, at + 2)[0]
            if kind in (_COD, _COC):
                yield kind, raw[at + 4 : at + 2 + length]
            at += 2 + length
            left -= 1
            if left == 0:
                raise Costly(f"its headers have more than {MOST_SEGMENTS:,} segments")
