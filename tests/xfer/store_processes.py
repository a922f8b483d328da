"""What other processes do to a store in tests: `python store_processes.py FUNCTION ROOT ...`.

Imports little, since a test starts eight of them.
"""

import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from xfer.errors import StoreError
from xfer.store import Pixels, Store

SHAPE = (4, 4, 3)
KEY = {"what": "test", "size": 4}
ROW = int(np.prod(SHAPE))
NAMES = [f"image {i}" for i in range(40)]


def row(name: str) -> np.ndarray:
    seed = int.from_bytes(name.encode(), "little")
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def expected(names: list[str]) -> np.ndarray:
    return np.stack([row(name) for name in names])


class Maker:
    """Makes rows of names, except of those it refuses; remembers which."""

    def __init__(self, names, refuses=()):
        self.names, self.refuses, self.made = names, set(refuses), []

    def __call__(self, missing):
        for position in missing:
            if self.names[position] not in self.refuses:
                self.made.append(self.names[position])
                yield position, row(self.names[position])


def filled(store, names, key=KEY, refuses=()) -> tuple[Pixels, list[str]]:
    make = Maker(names, refuses)
    return store.fill(key, names, make, shape=SHAPE), make.made


def fill_slowly(root: Path, log: str) -> None:
    def make(missing):
        for position in missing:
            with Path(log).open("a") as file:
                file.write(f"{NAMES[position]}\n")
            time.sleep(0.02)
            yield position, row(NAMES[position])

    pixels = Store(root).fill(KEY, NAMES, make, shape=SHAPE)
    assert (pixels[np.arange(40)] == expected(NAMES)).all()


def fill_for_ever(root: Path) -> None:
    def make(missing):
        for position in missing:
            yield position, row(NAMES[position])
            if position == 14:
                (root / "reached").touch()
                time.sleep(600)

    Store(root, chunk_bytes=5 * ROW).fill(KEY, NAMES, make, shape=SHAPE)


def hold(root: Path) -> None:
    pixels, _ = filled(Store(root), NAMES, key={"n": 1})
    (root / "held").touch()
    time.sleep(600)
    pixels[np.array([0])]


def write_under_a_limit(root: Path, result: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        filled(Store(root), [f"n{i}" for i in range(1_000)])
    except StoreError as error:
        Path(result).write_text(str(error))


def fill_with_much(root: Path, result: str) -> None:
    """Writes how much the peak of memory rose, in bytes, while 123 MB of rows went through."""
    big = (64, 64, 3)

    def make(missing):
        for position in missing:
            yield position, np.full(big, position % 256, np.uint8)

    filled(Store(root / "warm"), NAMES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Store(root / "store").fill(KEY, [f"{i:032x}" for i in range(10_000)], make, shape=big)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    Path(result).write_text(str((after - before) * unit))


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
