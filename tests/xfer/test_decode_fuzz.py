"""However a file is damaged, decoding it ends soon, in little memory, in pixels or a refusal.

`tests/xfer/mutated.py` makes the files and decodes them in a process of its own, which has nothing
to lose. Measured on 10,000 with 82 seeds (Pillow 13.0, pydicom 3.0.2): 24 s, at most .13 s and 27
MiB for one of them, no crash.
"""

import base64
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.xfer.image_files import seeds, tiled_tiff
from tests.xfer.mutated import PIXELS, mutation
from xfer.data.decode import FORMATS, DecodeError, decode_image

MEMORY = 96 * 2**20 + 64 * PIXELS
"""Bytes that one file may cost, as `xfer.data.decode` states it."""

needs_jpeg2000 = pytest.mark.skipif(not features.check("jpg_2000"), reason="Pillow has no OpenJPEG")


def survive(seed: int, first: int, last: int, folder: Path) -> dict:
    """What decoding these mutations came to; fails with the file that ended the process."""
    mark = folder / "mark"
    command = [sys.executable, "-m", "tests.xfer.mutated", *map(str, (seed, first, last)), mark]
    # Large pieces go back to the system at once, so that what is resident is what is used.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        at = int(mark.read_bytes()[:9]) if mark.exists() else first
        said, raw = mutation(seeds(), seed, at)
        (folder / "file").write_bytes(raw)
        text = base64.b64encode(zlib.compress(raw)).decode()
        pytest.fail(
            f"mutation {at} of seed {seed} ({said}; {len(raw):,} bytes) ended the process with"
            f" {done.returncode}; it is in {folder / 'file'}, and is what `python -m"
            f" tests.xfer.mutated {seed} {at}` writes. Deflated, base64: {text[:6_000]}\n"
            f"{done.stderr[-3_000:]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def check(found: dict, count: int) -> None:
    assert set(found["answers"]) <= {"decoded", "unreadable", "not_image", "oversized"}
    assert sum(found["answers"].values()) == count
    assert found["answers"]["decoded"] > count / 20, "damage went so far that nothing is tested"
    assert found["answers"]["unreadable"] > count / 20
    used, number, said = found["bytes"]
    assert used <= MEMORY, f"mutation {number} ({said}) took {used / 2**20:.0f} MiB"


def test_every_format_is_among_the_seeds_and_whole():
    optional = {"JPEG2000": "jpg_2000", "WEBP": "webp"}
    forms = set()
    for name, raw in seeds():
        assert decode_image(raw, size=8).shape == (8, 8, 3), name
        if "dicom" not in name:
            with Image.open(io.BytesIO(raw)) as image:
                forms.add("JPEG" if image.format == "MPO" else image.format)
    expected = {f for f in FORMATS if f not in optional or features.check(optional[f])}
    assert forms == expected


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_avif_is_refused_because_its_header_bounds_nothing():
    with pytest.raises(DecodeError, match="no image in a format read here"):
        decode_image(encoded(Image.new("RGB", (8, 8)), "AVIF"), size=8)


def test_a_mutation_is_the_same_whenever_it_is_made():
    files = seeds()
    assert [mutation(files, 3, i) for i in range(20)] == [mutation(files, 3, i) for i in range(20)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_three_hundred_damaged_files_are_survived(tmp_path):
    check(survive(1, 0, 300, tmp_path), 300)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_thousand_damaged_files_are_survived(tmp_path):
    check(survive(0, 0, 10_000, tmp_path), 10_000)


# --------------------------------------------------------------------------------------------------
# Files that are small and whole, and would cost much


def encoded(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def of_many_scans(count: int) -> bytes:
    raw = encoded(Image.new("RGB", (99, 99)), "JPEG", progressive=True)
    last = raw[raw.rindex(b"\xff\xda") : -2]
    return raw[:-2] + last * count + raw[-2:]


def of_many_strips(count: int) -> bytes:
    raw = tiled_tiff(Image.new("L", (64, 64)), 64, 64)
    entries = struct.pack("<HHII", 324, 4, 1, 0)[:8], struct.pack("<HHII", 324, 4, count, 0)[:8]
    assert raw.count(entries[0]) == 1
    return raw.replace(*entries)


def of_small_tiles(side: int) -> bytes:
    raw = bytearray(encoded(Image.new("L", (254, 254)), "JPEG2000", tile_size=(64, 64)))
    struct.pack_into(">II", raw, raw.index(b"\xff\x4f\xff\x51") + 24, side, side)
    return bytes(raw)


def of_small_precincts(exponent: int) -> bytes:
    asked = {"precinct_size": (128, 128), "num_resolutions": 4, "no_jp2": True}
    raw = bytearray(encoded(Image.new("L", (999, 999)), "JPEG2000", **asked))
    at = raw.index(b"\xff\x52")
    for i in range(raw[at + 9] + 1):
        raw[at + 14 + i] = 17 * exponent
    return bytes(raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (of_many_scans(300), "scans; at most 256 are read"),
        (of_many_strips(70_000), "tag 324 has 70,000 numbers; at most 65,536 are read"),
        (tiled_tiff(Image.new("L", (9, 9)), 9, 9, said=30_000), "its tiles have 30,000 x 30,000"),
        pytest.param(of_small_tiles(2), "has 16,129 tiles; 1,087", marks=needs_jpeg2000),
        pytest.param(of_small_precincts(2), "precincts; 19,689 are read", marks=needs_jpeg2000),
    ],
    ids=["scans", "strips", "tile", "tiles", "precincts"],
)
def test_what_would_cost_more_than_its_pixels_is_refused(raw, said):
    with pytest.raises(DecodeError) as caught:
        decode_image(raw, size=8)
    assert caught.value.kind == "oversized"
    assert said in caught.value.reason


@needs_jpeg2000
def test_usual_tiles_and_precincts_are_read():
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    expected = decode_image(noise, size=64)
    for options in (
        {"tile_size": (64, 64)},
        {"tile_size": (256, 256), "precinct_size": (128, 128)},
        {"precinct_size": (64, 64), "codeblock_size": (32, 32)},
    ):
        raw = encoded(Image.fromarray(noise), "JPEG2000", **options)
        np.testing.assert_array_equal(decode_image(raw, size=64), expected)


def test_usual_scans_and_tiles_are_read():
    assert decode_image(of_many_scans(100), size=8).shape == (8, 8, 3)
    gray = Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64))
    for side in (16, 64, 512):
        pixels = decode_image(tiled_tiff(gray, side, side), size=64, channels=1)
        np.testing.assert_array_equal(pixels[..., 0], np.asarray(gray))
