"""search.check names every fault that was planted in a set of images, and no other."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.check.__main__ import main

SPACE = str(Path(__file__).parents[2] / "spaces/any.py")
PARTS = {"train": 320, "val": 80, "test": 80}
"""Healthy images, half of them of each class."""
CLASSES = ("sick", "well")


def picture(number: int) -> Image.Image:
    """Soft spots, other ones for each number."""
    rng = np.random.default_rng(number)
    coarse = rng.uniform(0, 255, size=(12, 12)).astype(np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **how: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in 100 bytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))


def flipped(raw: bytes) -> bytes:
    """With its pixel data turned over: the checksums are wrong."""
    start = raw.index(b"IDAT") + 8
    return raw[:start] + bytes(255 - byte for byte in raw[start:-20]) + raw[-20:]


BROKEN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty.png": ("unreadable", lambda: b""),
    "short.jpg": ("unreadable", lambda: encoded(picture(10**6), "JPEG")[:900]),
    "short.png": ("unreadable", lambda: encoded(picture(10**6), "PNG")[:900]),
    "turned.png": ("unreadable", lambda: flipped(encoded(picture(10**6), "PNG"))),
    "text.jpg": ("not_image", lambda: b"this is a text\n" * 50),
    "page.png": ("not_image", lambda: b"<html><body>404 not found</body></html>"),
    "noise.jpeg": ("not_image", lambda: np.random.default_rng(0).bytes(2000)),
    "bomb.png": ("oversized", bomb),
}
"""Eight kinds of files that are no use, and what each is called."""


def planted(root: Path) -> dict[str, set[str]]:
    """Writes the set; for each kind of finding the names that must stand with it."""
    drawn = iter(range(100_000))
    names: dict[str, list[str]] = {part: [] for part in PARTS}

    def write(name: str, raw: bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)

    for part, count in PARTS.items():
        for i in range(count):
            name = f"{part}/{CLASSES[i % 2]}/{part}{i}.png"
            write(name, encoded(picture(next(drawn)), "PNG"))
            names[part].append(name)
    faults: dict[str, set[str]] = {kind: set() for kind in ("unreadable", "not_image", "oversized")}
    for i in range(20):
        what, (kind, make) = list(BROKEN.items())[i % len(BROKEN)]
        name = f"{list(PARTS)[i % 3]}/{CLASSES[i % 2]}/{i}{what}"
        write(name, make())
        faults[kind].add(name)
    faults["duplicate"] = set()
    faults["near_duplicate"] = set()
    for i in range(15):  # of train: in val, or in test
        part = ("val", "test")[i % 2]
        original = names["train"][i]
        of_class = original.split("/")[1]
        copy = f"{part}/{of_class}/again{i}.png"
        write(copy, (root / original).read_bytes())
        faults["duplicate"].add(" = ".join(sorted([original, copy])))
        original = names["train"][15 + i]
        of_class = original.split("/")[1]
        copy = f"{part}/{of_class}/saved{i}.jpg"
        image = Image.open(root / original)
        if i % 3 == 0:
            image = image.resize((80, 80), Image.Resampling.BICUBIC)
        if i % 3 == 1:
            image = image.point([round(0.9 * value) for value in range(256)])
        write(copy, encoded(image, "JPEG", quality=70))
        faults["near_duplicate"].add(" = ".join(sorted([original, copy])))
    faults["patient_leak"] = set()
    for i in range(10):
        for part, view in (("train", 0), ("train", 1), (("val", "test")[i % 2], 2)):
            name = f"{part}/{CLASSES[i % 2]}/patient{i:03d}_{view}.png"
            write(name, encoded(picture(next(drawn)), "PNG"))
        faults["patient_leak"].add(f"patient{i:03d}: {('test, train', 'train, val')[i % 2 == 0]}")
    faults["label_conflict"] = set()
    for i in range(5):
        original = names["train"][40 + i]
        of_class = original.split("/")[1]
        other = CLASSES[1 - CLASSES.index(of_class)]
        copy = f"train/{other}/both{i}.png"
        write(copy, (root / original).read_bytes())
        pair = sorted([(original, of_class), (copy, other)])
        faults["label_conflict"].add(" = ".join(f"{name} ({of})" for name, of in pair))
        faults["duplicate"].add(" = ".join(sorted([original, copy])))
    return faults


def told(out: str) -> dict[str, set[str]]:
    """Names by kind of finding, as the command prints them; those that stand together in order."""
    found: dict[str, set[str]] = {}
    kind = ""
    for line in out[out.index("Audit of") :].splitlines()[1:-1]:
        if line.startswith("  "):
            found[kind].add(" = ".join(sorted(line.strip().split(" = "))))
        else:
            kind = line.split(",")[0]
            found[kind] = set()
    return found


def test_check_names_every_planted_fault_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "store"))
    faults = planted(tmp_path / "set")
    words = [SPACE, "--data", str(tmp_path / "set"), "--positive", "sick", "--backbones", "convnet"]
    assert main(words) == 0
    found = told(capsys.readouterr().out)
    for kind in ("unreadable", "not_image", "oversized"):
        found[kind] = {name.partition(":")[0] for name in found[kind]}
    assert found.pop("small_validation") == set()  # a set for a test is small
    assert found == faults
    assert main([*words, "--strict"]) == 2
    strict = capsys.readouterr().err.splitlines()[1:]
    assert {line.split(":")[1].split(",")[0].strip() for line in strict} == set(faults)
