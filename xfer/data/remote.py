"""How do images that have a URL get to this machine? Once, file by file, by fsspec.

    s3://bucket/chest_xray      gs://bucket/set.npz      http://server/folder/

What a URL holds is kept beside the store, in `fetched/`, under the digest of the URL. A file is
fetched again when its size, time or tag has changed over there, and removed when it is gone there;
one that was cut short is not believed. It does not count into the store's budget.
"""

from __future__ import annotations

import json
import os
import posixpath
import secrets
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from xfer.chunks import blake2b
from xfer.errors import DataError
from xfer.store import default_root

_SIDE_BY_SIDE = 16
_TELLING = (
    "size", "ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified",
    "updated", "created",
)  # fmt: skip
"""What file systems say of a file that changes when it does; each says some of it."""
_MARGIN_BYTES = 10**9


def is_url(path: str) -> bool:
    """Whether a path names a place that fsspec has to be asked for.

    >>> is_url("s3://bucket/images"), is_url("data/images"), is_url("builtin:digits")
    (True, False, False)
    """
    return "://" in path


@lru_cache(maxsize=8)
def fetched(url: str) -> Path:
    """What a URL names, as a file or folder of this machine; looked at once per process.

    Raises:
        DataError: there is nothing, nobody knows such URLs here, the other side cannot be read, or
            there is no room for it.
    """
    from fsspec.core import url_to_fs

    try:
        there, root = url_to_fs(url)
        files = _files(there, root)
    except ImportError as error:
        raise DataError(f"{url} cannot be read with what is installed: {error}.") from error
    except ValueError as error:  # of fsspec: a protocol that nobody knows
        raise DataError(f"{url} is no URL that can be read: {error}.") from error
    except Exception as error:  # whatever the libraries of object stores raise
        raise DataError(f"{url} cannot be read: {error or type(error).__name__}.") from error
    if not files:
        raise DataError(f"no images at {url}: there is no such folder or file, or nobody answers.")
    folder = default_root() / "fetched" / blake2b(url.encode())
    place = folder / (PurePosixPath(root.rstrip("/")).name or "images")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            _bring(there, files, place, folder / "there.jsonl")
    except OSError as error:
        raise DataError(f"{url} cannot be kept at {folder}: {error}.") from error
    except Exception as error:
        raise DataError(f"{url} cannot be fetched: {error or type(error).__name__}.") from error
    return place


def _files(there: Any, root: str) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """By place below the root ("" for a file itself), path over there and what is said of it."""
    if there.isfile(root) and not root.endswith("/"):
        return {"": (root, there.info(root))}
    found = {}
    for path, about in there.find(root, detail=True).items():
        place = posixpath.relpath(path, root)
        parts = PurePosixPath(place).parts
        if ".." in parts or posixpath.isabs(place):
            raise DataError(f"it names a file outside of the folder, {path!r}")
        found[place] = (path, about)
    return found


def _bring(
    there: Any, files: Mapping[str, tuple[str, Mapping[str, Any]]], place: Path, notes: Path
) -> None:
    """Makes the folder, or the file, what it is over there."""
    known = dict(_read(notes))
    says = {name: _says(about) for name, (_, about) in files.items()}
    missing = [n for n in files if known.get(n) != says[n] or not (place / n).is_file()]
    needed = sum(files[name][1].get("size") or 0 for name in missing)
    free = shutil.disk_usage(notes.parent).free
    if needed + _MARGIN_BYTES > free:
        raise OSError(f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free")
    with notes.open("a", encoding="utf-8") as log:

        def bring(name: str) -> str:
            target = place / name if name else place
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{secrets.token_hex(8)}")
            try:
                there.get_file(files[name][0], str(temporary))
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            return name

        with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
            for name in threads.map(bring, missing):
                log.write(json.dumps([name, says[name]]) + "\n")
                log.flush()
    _remove_others(place, set(files))


def _read(notes: Path) -> Iterator[tuple[str, str]]:
    """What was fetched, the latest last; a line that a kill cut short is none."""
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else []
    for line in lines:
        try:
            name, says = json.loads(line)
        except ValueError:
            continue
        yield name, says


def _says(about: Mapping[str, Any]) -> str:
    return blake2b(*(f"{key}={about[key]};".encode() for key in _TELLING if key in about))


def _remove_others(place: Path, names: set[str]) -> None:
    """What is not over there any more, and what a kill left half."""
    for folder, _, files in os.walk(place):
        for file in files:
            path = Path(folder, file)
            if path.relative_to(place).as_posix() not in names:
                path.unlink()
