"""How often have these test images been opened on this machine, whatever the run?

A run knows of its own openings only; whoever starts another run on the same images looks at the
same answers again. The ledger stands outside all runs: a file per test part, named by the digest of
what its images contain, so that names, folders and order say nothing. It is no part of the cache,
which people clear. Standard library and filelock only.

Layout: `ROOT/DIGEST.jsonl` has a line per opening, written before the images are looked at;
`ROOT/DIGEST.images` 16 bytes per image, sorted, by which test parts that share images are told.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

_WAIT = 30.0
"""Seconds for another process to write its line; it takes milliseconds."""
_BYTES = 16
_PERSON = b"xfer ledger"  # so that the files do not hold digests of images as others compute them


@dataclass(frozen=True, kw_only=True)
class Opening:
    """One opening of one test part: a line of the ledger."""

    run: str
    """The run's folder, absolute."""
    run_id: str
    """What tells the run from another one that was in the same folder before."""
    trial: int
    """The winner's number."""
    at: str
    """When, ISO 8601, UTC."""
    images: int
    """In the test part."""


@dataclass(frozen=True, kw_only=True)
class Openings:
    """What the ledger knows of a test part."""

    entries: tuple[Opening, ...]
    """In the order in which they were written; one that could not be written is among them."""
    images: int
    """In the test part."""
    shared: int
    """Of these, images of test parts with other contents that were opened on this machine."""
    problem: str | None
    """Why the ledger is not complete, as a sentence; None: it is."""

    @property
    def count(self) -> int:
        """How often the test part was opened."""
        return len(self.entries)


def default_root() -> Path:
    """XFER_LEDGER, or beside XFER_CACHE with `-ledger` appended, or `~/.local/share/xfer/ledger`.

    Whoever moves the cache moves what is written about their data; beside it, the ledger outlives
    a cache that is cleared.
    """
    cache = os.environ.get("XFER_CACHE")
    beside = f"{Path(cache).expanduser().absolute()}-ledger" if cache else None
    chosen = os.environ.get("XFER_LEDGER") or beside or "~/.local/share/xfer/ledger"
    return Path(chosen).expanduser().absolute()


def digest_of(contents: Iterable[str]) -> str:
    """Of a test part, from the digests of its images' contents; their order says nothing.

    >>> digest_of(["b", "a"]) == digest_of(["a", "b"])
    True
    """
    return _blake2b("\n".join(sorted(contents)), 32).hex()


class Ledger:
    """The openings of all test parts on this machine. No call raises for what the disk does."""

    def __init__(self, root: Path | None = None) -> None:
        """Opens nothing yet.

        Args:
            root: its folder; None: `default_root()`.
        """
        self.root = default_root() if root is None else Path(root).absolute()

    def look(self, contents: Sequence[str]) -> Openings:
        """What is known of a test part; nothing is written.

        Args:
            contents: digests of its images' contents.
        """
        digest = digest_of(contents)
        try:
            entries, shared = self._entries(digest), self._shared(digest, contents)
        except OSError as error:
            said = f"the ledger at {self.root} could not be read: {error.strerror or error}"
            return Openings(entries=(), images=len(contents), shared=0, problem=said)
        return Openings(entries=entries, images=len(contents), shared=shared, problem=None)

    def open(
        self, contents: Sequence[str], *, run: Path, run_id: str, trial: int, at: str
    ) -> Openings:
        """Writes down that a test part is about to be opened; then as `look`.

        The same trial of the same run counts once, however often it is told: a search that was
        killed after this goes on with the same winner. The line is on the disk when this returns.
        What cannot be written is told in `problem` and counted all the same.

        Args:
            contents: digests of the images' contents.
            run: the run's folder.
            run_id: as `Opening` says.
            trial: the winner's number.
            at: now, ISO 8601, UTC.
        """
        opening = Opening(
            run=str(Path(run).absolute()), run_id=run_id, trial=trial, at=at, images=len(contents)
        )
        digest = digest_of(contents)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(str(self.root / f"{digest}.lock"), timeout=_WAIT):
                if not any(_same(opening, entry) for entry in self._entries(digest)):
                    self._keep_images(digest, contents)
                    _append(self.root / f"{digest}.jsonl", json.dumps(asdict(opening)))
        except (OSError, NotImplementedError) as error:  # a file system without locks
            before = self.look(contents)
            known = any(_same(opening, entry) for entry in before.entries)
            why = (isinstance(error, OSError) and error.strerror) or error
            return Openings(
                entries=before.entries if known else (*before.entries, opening),
                images=before.images,
                shared=before.shared,
                problem=f"the ledger at {self.root} could not be written: {why}",
            )
        return self.look(contents)

    def _entries(self, digest: str) -> tuple[Opening, ...]:
        path = self.root / f"{digest}.jsonl"
        return tuple(_openings(path)) if path.exists() else ()

    def _shared(self, digest: str, contents: Sequence[str]) -> int:
        """How many of the images other test parts have that were opened."""
        others: set[bytes] = set()
        for path in sorted(self.root.glob("*.images")):
            if path.stem != digest and self._entries(path.stem):
                raw = path.read_bytes()
                others.update(raw[i : i + _BYTES] for i in range(0, len(raw), _BYTES))
        return sum(_image(content) in others for content in contents) if others else 0

    def _keep_images(self, digest: str, contents: Sequence[str]) -> None:
        path = self.root / f"{digest}.images"
        if not path.exists():
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                with temporary.open("wb") as file:
                    file.write(b"".join(sorted(map(_image, contents))))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)


def said(openings: Openings) -> str:
    """How often the test images were opened on this machine, for every output that has results.

    >>> said(Openings(entries=(), images=3, shared=0, problem=None))
    'The test images were never opened on this machine.'
    """
    if not openings.count:
        text = "The test images were never opened on this machine."
    else:
        times = {1: "once", 2: "twice"}.get(openings.count, f"{openings.count} times")
        runs = list(dict.fromkeys(Path(entry.run).name for entry in openings.entries))
        named = ", ".join(runs[-5:]) + (f" and {len(runs) - 5} before" if len(runs) > 5 else "")
        text = (
            f"The test images were opened {times} on this machine "
            f"(run{'s' if len(runs) > 1 else ''} {named})."
        )
    if openings.shared:
        text += (
            f" {openings.shared:,} of the {openings.images:,} were opened as part of another test"
            " set too."
        )
    if openings.problem:
        text += f" There may be more: {openings.problem}."
    return text


def _openings(path: Path) -> Iterator[Opening]:
    """Those of a file. A line that a kill tore is none: nothing was opened after it."""
    for line in path.read_bytes().splitlines():
        try:
            yield Opening(**json.loads(line))
        except (ValueError, TypeError):
            continue


def _append(path: Path, line: str) -> None:
    """Adds a line and waits for the disk; begins a new one where the last was torn."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(handle).st_size
        torn = size and os.pread(handle, 1, size - 1) != b"\n"
        text = (b"\n" if torn else b"") + line.encode("ascii") + b"\n"
        try:
            if os.write(handle, text) != len(text):
                raise OSError(28, "No space left on device")
        except OSError:
            os.ftruncate(handle, size)
            raise
        os.fsync(handle)
    finally:
        os.close(handle)


def _same(one: Opening, other: Opening) -> bool:
    """Whether two lines are of the same winner of the same run."""
    return (one.run, one.run_id, one.trial) == (other.run, other.run_id, other.trial)


def _image(content: str) -> bytes:
    return _blake2b(content, _BYTES)


def _blake2b(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=size, person=_PERSON).digest()
