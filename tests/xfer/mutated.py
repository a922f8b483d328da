"""Image files that were damaged on purpose, and what decoding them costs.

    python -m tests.xfer.mutated SEED FIRST LAST MARK        decodes mutations FIRST..LAST-1 of SEED
    python -m tests.xfer.mutated SEED NUMBER > file          writes one of them

The first prints a line of JSON at its end. The number of the mutation at hand stands in the file
MARK, so that whoever started it knows which one was the last. A file that takes longer than
`SECONDS` ends the process, and so does one that asks for more than `ADDRESS_SPACE`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.xfer.image_files import seeds
from xfer.data.decode import DecodeError, decode_image

SIDE = 48
"""Of what is decoded into."""
SECONDS = 20
"""One file may take; more is a hang. For images of at most `PIXELS` on a busy core."""
PIXELS = 1_000_000
"""XFER_MAX_PIXELS while files are decoded."""
ADDRESS_SPACE = 1536 * 2**20
"""Bytes a process may map beyond what it has when it begins: threads' stacks and arenas too."""


# --------------------------------------------------------------------------------------------------
# Damage

_EXTREMES = (0, 1, 2, 3, 255, 256, 999, 1_000, 1_001, 16_384, 32_767, 32_768, 65_535, 2**24,
             2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1)  # fmt: skip


def _place(random: np.random.Generator, raw: bytes) -> int:
    """Mostly in the header, where most of a file's meaning is."""
    reach = len(raw) if random.random() < 0.4 else min(len(raw), int(2 ** random.uniform(4, 10)))
    return int(random.integers(max(1, reach)))


def _flip(random: np.random.Generator, raw: bytes, _: bytes) -> bytes:
    made = bytearray(raw)
    for _ in range(random.integers(1, 9)):
        made[_place(random, raw)] ^= 1 << int(random.integers(8))
    return bytes(made)


def _extreme(random: np.random.Generator, raw: bytes, _: bytes) -> bytes:
    made = bytearray(raw)
    for _ in range(random.integers(1, 4)):
        wide = int(random.choice((1, 2, 4, 8)))
        value = _EXTREMES[random.integers(len(_EXTREMES))] % 256**wide
        at, order = _place(random, raw), ("little", "big")[random.integers(2)]
        made[at : at + wide] = value.to_bytes(wide, order)
    return bytes(made)


def _splice(random: np.random.Generator, raw: bytes, other: bytes) -> bytes:
    at, since = _place(random, raw), _place(random, other)
    length = int(2 ** random.uniform(0, 9))
    return raw[:at] + other[since : since + length] + raw[at + length * random.integers(2) :]


def _cut(random: np.random.Generator, raw: bytes, _: bytes) -> bytes:
    return raw[: int(random.integers(1, len(raw)))]


def _repeat(random: np.random.Generator, raw: bytes, _: bytes) -> bytes:
    at, length = _place(random, raw), int(2 ** random.uniform(1, 9))
    part = raw[at : at + length]
    times = int(2 ** random.uniform(0, 16 - np.log2(length)))
    return raw[: at + length] + part * times + raw[at + length :]


def _other_body(random: np.random.Generator, raw: bytes, other: bytes) -> bytes:
    at = int(2 ** random.uniform(0, np.log2(min(len(raw), len(other)))))
    return raw[:at] + other[at:]


def _larger(random: np.random.Generator, raw: bytes, _: bytes) -> bytes:
    """Wherever the width or the height of the seeds stands, a number near the limit's root."""
    wide, order = int(random.choice((2, 4))), ("little", "big")[random.integers(2)]
    for side in (57, 38):
        value = int(random.choice((500, 990, 1_000, 1_010, 10_000, 60_000)))
        raw = raw.replace(side.to_bytes(wide, order), value.to_bytes(wide, order))
    return raw


DAMAGE: tuple[Callable[[np.random.Generator, bytes, bytes], bytes], ...] = (
    _flip, _extreme, _splice, _cut, _repeat, _other_body, _larger
)  # fmt: skip


def _checked(raw: bytes) -> bytes:
    """A PNG's checksums, made to fit: otherwise nothing behind them is ever reached."""
    made, at = raw[:8], 8
    while at + 12 <= len(raw):
        length = struct.unpack_from(">I", raw, at)[0]
        body = raw[at + 8 : at + 8 + length]
        made += raw[at : at + 8] + body + struct.pack(">I", zlib.crc32(raw[at + 4 : at + 8] + body))
        at += 12 + length
    return made + raw[at:]


def mutation(files: list[tuple[str, bytes]], seed: int, number: int) -> tuple[str, bytes]:
    """What was done to which file, and the file that came of it; the same for the same numbers."""
    random = np.random.default_rng((seed, number))
    name, raw = files[random.integers(len(files))]
    said = [name]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        damage = DAMAGE[random.integers(len(DAMAGE))]
        other = files[random.integers(len(files))][1]
        if raw:
            raw = damage(random, raw, other)
            said.append(damage.__name__[1:])
    if raw.startswith(b"\x89PNG") and random.random() < 0.8:
        raw = _checked(raw)
    return " ".join(said), raw


# --------------------------------------------------------------------------------------------------
# What it costs


def _memory(field: str) -> int:
    """Bytes of the process: VmRSS, VmHWM or VmSize."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def decode(raw: bytes) -> str:
    """`decoded`, or the kind of refusal; anything else is a finding and is raised."""
    try:
        pixels = decode_image(raw, size=SIDE)
    except DecodeError as error:
        return error.kind if error.reason else "refused without a reason"
    assert pixels.shape == (SIDE, SIDE, 3), pixels.shape
    assert pixels.dtype == np.uint8
    return "decoded"


def run(seed: int, first: int, last: int, mark: int) -> dict[str, object]:
    """Decodes mutations and measures each: `answers`, and the most `seconds` and `bytes`."""
    files = seeds()
    for _, raw in files:
        decode(raw)  # libraries are loaded, and threads begun
    space = _memory("VmSize") + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    answers: Counter[str] = Counter()
    slowest: tuple[float, int, str] = (0.0, -1, "")
    largest: tuple[int, int, str] = (0, -1, "")
    for number in range(first, last):
        said, raw = mutation(files, seed, number)
        os.pwrite(mark, f"{number:9d} {said:60s}"[:70].encode(), 0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, began = _memory("VmRSS"), time.monotonic()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        answers[decode(raw)] += 1
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, (time.monotonic() - began, number, said))
        largest = max(largest, (_memory("VmHWM") - before, number, said))
    return {"answers": dict(answers), "seconds": slowest, "bytes": largest}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.stdout.buffer.write(mutation(seeds(), int(sys.argv[1]), int(sys.argv[2]))[1])
    else:
        warnings.simplefilter("ignore")  # Pillow's, about files that it then reads or refuses
        os.environ["XFER_MAX_PIXELS"] = str(PIXELS)
        asked = [int(text) for text in sys.argv[1:4]]
        with Path(sys.argv[4]).open("wb", buffering=0) as at_hand:
            print(json.dumps(run(*asked, at_hand.fileno())))
