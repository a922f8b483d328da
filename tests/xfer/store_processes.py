"""What other processes do to a store in tests: `python store_processes.py FUNCTION ROOT ...`.

Imports little, since a test starts eight of them.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xfer.errors import StoreError
from xfer.store import Pixels, Request, Store

SHAPE = (4, 4, 3)
KEY = {"what": "test", "size": 4}
ROW = int(np.prod(SHAPE))
NAMES = [f"image {i}" for i in range(40)]
REPOSITORY = Path(__file__).parents[2]
BLOCKS = ["stem", "layer1", "layer2", "layer3"]
CUTS = tuple(
    Request({"what": "features", "backbone": "resnet18", "blocks": BLOCKS[:cut]}, shape, dtype)
    for cut, shape, dtype in [(1, SHAPE, "uint8"), (2, (5,), "float32"), (4, (2, 2), "float16")]
)


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


def activation(request: Request, name: str) -> np.ndarray:
    values = np.random.default_rng([*name.encode(), *request.name.encode()])
    return values.integers(0, 100, request.shape).astype(request.dtype)


class ManyMaker:
    """Makes rows of names for several keys, except of those it refuses; remembers which."""

    def __init__(self, requests, names, refuses=()):
        self.requests, self.names, self.refuses, self.made = requests, names, set(refuses), []

    def __call__(self, missing):
        for position in missing:
            name = self.names[position]
            if name not in self.refuses:
                self.made.append(name)
                yield position, tuple(activation(request, name) for request in self.requests)


def filled_many(store, requests, names, refuses=()) -> tuple[list[Pixels], list[str]]:
    make = ManyMaker(requests, names, refuses)
    return store.fill_many(requests, names, make), make.made


def there(store: Store, request: Request) -> int:
    """How many of the names have a row."""
    return len(NAMES) - len(store.missing([request], NAMES))


def assert_rows(pixels: Pixels, request: Request, names: list[str]) -> None:
    """The rows are those of the names, bit by bit."""
    wanted = np.stack([activation(request, name) for name in names])
    np.testing.assert_array_equal(pixels[np.arange(len(names))], wanted)
    assert pixels.dtype == request.dtype


@contextmanager
def spawned(function, *arguments, count=1):
    """Processes that run a function of this file; killed, should they outlive the block."""
    command = [sys.executable, __file__, function.__name__]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    processes = [subprocess.Popen([*command, *arguments], env=environment) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


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


def fill_cuts_slowly(root: Path, log: str, number: str) -> None:
    """One of eight: other names than its neighbours', and the keys in another order."""
    n = int(number)
    requests = [CUTS[(n + i) % 3] for i in range(3)]
    names = NAMES[3 * n : 3 * n + 19]

    def make(missing):
        for position in missing:
            with Path(log).open("a") as file:
                file.write(f"{names[position]}\n")
            time.sleep(0.01)
            yield position, tuple(activation(request, names[position]) for request in requests)

    for request, pixels in zip(requests, Store(root).fill_many(requests, names, make), strict=True):
        assert_rows(pixels, request, names)


def fill_cuts_for_ever(root: Path) -> None:
    make = ManyMaker(CUTS[:2], NAMES)

    def stuck(missing):
        for position, rows in make(missing):
            yield position, rows
            if position == 14:
                (root / "reached").touch()
                time.sleep(600)

    Store(root, chunk_bytes=5 * ROW).fill_many(CUTS[:2], NAMES, stuck)


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
