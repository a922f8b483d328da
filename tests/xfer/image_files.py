"""One small file of every kind that is read here, for tests that damage them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, features


def ramp(width: int, height: int) -> np.ndarray:
    """Smooth and rough parts, uint8 (height, width, 3)."""
    noise = np.random.default_rng(width).integers(0, 60, (height, width, 3))
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return (np.dstack([x, y, x + y]) * 3 + noise).astype(np.uint8)


def seeds() -> list[tuple[str, bytes]]:
    """Files of every format that is read here, with their names; DICOM where pydicom is."""
    colour = Image.fromarray(ramp(57, 38))
    gray = colour.convert("L")
    deep = Image.fromarray(ramp(57, 38)[..., 0].astype(np.uint16) * 257)
    flat = Image.fromarray(ramp(57, 38)[..., 0].astype(np.float32))
    clear = colour.copy()
    clear.putalpha(gray)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description " * 9
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "spoken " * 99, zip=True)
    text.add_itxt("Title", "written " * 99, zip=True)
    found: list[tuple[str, bytes]] = []

    def add(name: str, image: Image.Image, form: str, **options: Any) -> None:
        file = io.BytesIO()
        if options.pop("frames", 1) > 1:  # rotated anew: Pillow leaves one format's options there
            frames = [image.rotate(90 * i) for i in range(1, 4)]
            options |= {"save_all": True, "append_images": frames}
        image.copy().save(file, form, **options)
        found.append((name, file.getvalue()))

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        add(f"png {mode}", (clear if mode.endswith("A") else colour).convert(mode), "PNG")
    add("png 16", deep, "PNG")
    add("png text", colour, "PNG", pnginfo=text, exif=exif, icc_profile=bytes(3_000))
    add("png frames", colour, "PNG", frames=4)
    found.append(("png interlaced", _interlaced(gray)))
    for mode in ("L", "RGB", "CMYK"):
        add(f"jpeg {mode}", colour.convert(mode), "JPEG", quality=60)
    add("jpeg progressive", colour, "JPEG", progressive=True, exif=exif, subsampling=2)
    add("jpeg restarts", colour, "JPEG", restart_marker_blocks=2, comment=b"said " * 99)
    add("mpo", colour, "MPO", frames=4)
    add("gif", colour.quantize(31), "GIF", interlace=0)
    add("gif frames", colour, "GIF", transparency=3, frames=4)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        add(f"bmp {mode}", colour.convert(mode), "BMP")
    found.append(("bmp rle", _run_length_bmp(gray)))
    for mode in ("1", "L", "RGB"):
        add(f"ppm {mode}", colour.convert(mode), "PPM")
    found.append(("ppm plain", b"P3 # text\n9 7 255\n" + b"17 200 3 " * 63))
    found.append(("ppm 16", b"P5 57 38 65535\n" + ramp(57, 76)[..., 0].tobytes()))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr"):
        add(f"tiff {mode}", (clear if mode.endswith("A") else colour).convert(mode), "TIFF")
    for name, image in (("16", deep), ("32", deep.convert("I")), ("float", flat)):
        add(f"tiff {name}", image, "TIFF", compression="tiff_adobe_deflate")
    for way in ("tiff_lzw", "packbits", "jpeg", "tiff_deflate", "zstd", "lzma"):
        add(f"tiff {way}", colour, "TIFF", compression=way, frames=4)
    for way in ("group3", "group4"):
        add(f"tiff {way}", colour.convert("1"), "TIFF", compression=way)
    add("tiff exif", colour, "TIFF", compression="tiff_lzw", exif=exif)
    found.append(("tiff tiles", tiled_tiff(gray, 32, 16)))
    add("tiff big", colour, "TIFF", big_tiff=True)
    if features.check("webp"):
        add("webp", colour, "WEBP", quality=50)
        add("webp lossless", clear, "WEBP", lossless=True, exif=exif)
        add("webp frames", colour, "WEBP", frames=4)
    if features.check("jpg_2000"):
        add("jpeg2000", colour, "JPEG2000")
        add("jpeg2000 lossy", clear, "JPEG2000", irreversible=True, quality_layers=[40, 10])
        add("jpeg2000 tiles", gray, "JPEG2000", tile_size=(16, 16), no_jp2=True)
        add("jpeg2000 16", deep, "JPEG2000")
    whole = Image.new("RGBA", (1_000, 1_000), (200, 90, 30, 128))  # few bytes, all the pixels
    whole_deep = Image.fromarray(np.full((1_000, 1_000), 40_000, np.uint16))
    add("whole png", whole, "PNG")
    add("whole png 16", whole_deep, "PNG")
    add("whole gif", whole.convert("P"), "GIF")
    add("whole jpeg", whole.convert("CMYK"), "JPEG", progressive=True)
    add("whole tiff", whole, "TIFF", compression="tiff_lzw")
    add("whole tiff float", whole_deep.convert("F"), "TIFF", compression="tiff_adobe_deflate")
    if features.check("webp"):
        add("whole webp", whole, "WEBP", lossless=True)
    if features.check("jpg_2000"):
        add("whole jpeg2000", whole, "JPEG2000")
    return found + _dicom_seeds(colour)


def _dicom_seeds(colour: Image.Image) -> list[tuple[str, bytes]]:
    try:
        import pydicom.pixels  # noqa: F401
    except ImportError:
        return []
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

    from tests.xfer.dicom_files import IMPLICIT, dataset, dicom, lookup_table, saved

    gray = np.asarray(colour.convert("L"))
    deep = gray.astype(np.int16) * 16 - 2_048
    window = {"WindowCenter": [40, 50], "WindowWidth": [400, 350]}
    rescale = {"RescaleSlope": "1.5", "RescaleIntercept": -1024}
    table = lookup_table(list(range(0, 65_536, 1_024)), first=-2_048, depth=16)
    found = [
        ("dicom", dicom(gray, PatientID="a" * 60)),
        ("dicom ct", dicom(deep, bits=12, **window, **rescale)),
        ("dicom implicit", dicom(deep, syntax=IMPLICIT, PhotometricInterpretation="MONOCHROME1")),
        ("dicom table", dicom(deep, VOILUTSequence=table)),
        ("dicom modality", dicom(deep, ModalityLUTSequence=table, **window)),
        ("dicom rgb", dicom(np.asarray(colour))),
    ]
    runs = dataset(np.asarray(colour))
    runs.compress(RLELossless)
    found.append(("dicom rle", saved(runs)))
    whole = dataset(np.full((1_000, 1_000), 9, np.uint16), **window, **rescale)
    whole.compress(RLELossless)
    found.append(("whole dicom", saved(whole)))
    for form, syntax in (("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)):
        frame = io.BytesIO()
        colour.convert("L").save(frame, form)
        made = dataset(gray, syntax=syntax)
        made.PixelData = encapsulate([frame.getvalue()])
        found.append((f"dicom {form.lower()}", saved(made)))
    palette = dataset(gray, PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(palette, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(palette, f"{name}PaletteColorLookupTableData", bytes(range(256)))
    return [*found, ("dicom palette", saved(palette))]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _interlaced(gray: Image.Image) -> bytes:
    """Adam7, which Pillow reads and does not write."""
    pixels = np.asarray(gray)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1))  # fmt: skip
    lines = b"".join(
        b"\0" + line.tobytes() for y, x, down, right in passes for line in pixels[y::down, x::right]
    )
    header = struct.pack(">IIBBBBB", *gray.size, 8, 0, 0, 0, 1)
    parts = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _run_length_bmp(gray: Image.Image) -> bytes:
    """BI_RLE8, which Pillow reads and does not write."""
    file = io.BytesIO()
    gray.save(file, "BMP")
    plain = bytearray(file.getvalue())
    start = struct.unpack_from("<I", plain, 10)[0]
    body = (
        b"".join(bytes((gray.width, 9 * y % 256)) + b"\0\0" for y in range(gray.height)) + b"\0\1"
    )
    struct.pack_into("<I", plain, 30, 1)
    return bytes(plain[:start]) + body


def tiled_tiff(gray: Image.Image, width: int, height: int, *, said: int | None = None) -> bytes:
    """Deflated tiles, which Pillow reads and does not write; `said` is the width in its header."""
    pixels, tiles = np.asarray(gray), []
    for top in range(0, gray.height, height):
        for left in range(0, gray.width, width):
            tile = np.zeros((height, width), np.uint8)
            part = pixels[top : top + height, left : left + width]
            tile[: part.shape[0], : part.shape[1]] = part
            tiles.append(zlib.compress(tile.tobytes()))
    starts = 8 + np.cumsum([0, *map(len, tiles)])
    where, lengths = int(starts[-1]), int(starts[-1]) + 4 * len(tiles)
    if len(tiles) == 1:  # a single number stands in the entry itself
        where, lengths = 8, len(tiles[0])
    lists = struct.pack(f"<{2 * len(tiles)}I", *starts[:-1], *map(len, tiles))
    fields = {
        256: gray.width, 257: gray.height, 258: 8, 259: 8, 262: 1, 277: 1, 322: said or width,
        323: said or height, 324: where, 325: lengths,
    }  # fmt: skip
    directory = b"".join(
        struct.pack("<HHII", tag, 4, len(tiles) if tag in (324, 325) else 1, value)
        for tag, value in fields.items()
    )
    begin = struct.pack("<4sI", b"II*\0", int(starts[-1]) + len(lists))
    return begin + b"".join(tiles) + lists + struct.pack("<H", len(fields)) + directory + bytes(4)
