"""How does a file of pretrained weights get from one machine to another?"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from xfer.chunks import data_digest, flush_folder
from xfer.errors import WeightsError
from xfer.models.weights import weights_file

PIECE_BYTES = 32 << 20
"""Of a file that are asked for together."""


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A backbone's weights on the machine that has them."""

    name: str
    """The backbone."""
    path: str
    """Of the file, over there."""
    bytes: int
    """Its size."""
    digest: str
    """BLAKE2b of it, 128 bits."""


def to_carry(name: str) -> Carried:
    """What another machine has to know of a backbone's weights.

    Raises:
        RecipeError: no such backbone.
        WeightsError: they are not on this machine.
    """
    path = weights_file(name).path
    try:
        return Carried(
            name=name, path=str(path), bytes=path.stat().st_size, digest=data_digest(path)
        )
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error


def carry(weights: Carried, read: Callable[[str, int, int], bytes]) -> None:
    """Makes sure that this machine has the same weights, and keeps them where torchvision looks.

    One process asks for them, the others wait.

    Args:
        weights: as `to_carry` found them.
        read: given path, first byte and number of bytes, what is there on that machine.

    Raises:
        WeightsError: this machine has others under that name, or has no room, or what came is not
            what was there.
    """
    path = weights_file(weights.name).path
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                if not path.is_file():
                    _write(path, weights, read)
        status = path.stat()
        found = _digest(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise WeightsError(
            f"the weights of {weights.name} cannot be kept at {path}: {error.strerror or error}."
            " TORCH_HOME moves the folder."
        ) from error
    if found != weights.digest:
        raise WeightsError(
            f"{path} on this machine holds other weights of {weights.name} than {weights.path} on"
            " the machine that leads the search. Remove it, and it is fetched from there."
        )


def _write(path: Path, weights: Carried, read: Callable[[str, int, int], bytes]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            for start in range(0, weights.bytes, PIECE_BYTES):
                file.write(read(weights.path, start, min(PIECE_BYTES, weights.bytes - start)))
            file.flush()
            os.fsync(file.fileno())
        if data_digest(temporary) != weights.digest:
            raise WeightsError(
                f"what came of {weights.path} is not what was there when the search began."
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


@lru_cache(maxsize=64)
def _digest(path: Path, time_ns: int, size: int) -> str:
    """Of a file as it is now; read once per process."""
    return data_digest(path)
