"""Where does a run keep its things, and whose is it now? Paths, atomic writes, a lock.

Standard library only. Everything is absolute, because Ray changes folders.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import RunError


@dataclass(frozen=True)
class RunDir:
    """A run's folder."""

    root: Path
    """Absolute."""

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.root.name

    @property
    def space(self) -> Path:
        """The space file as it was when the run began."""
        return self.root / "space.py"

    @property
    def manifest(self) -> Path:
        """What was asked, of what versions, seeds, workers, data and weights."""
        return self.root / "manifest.json"

    @property
    def audit(self) -> Path:
        """What the data is like."""
        return self.root / "audit.json"

    @property
    def study(self) -> Path:
        """The Optuna study, SQLite."""
        return self.root / "study.db"

    @property
    def trials(self) -> Path:
        """A row per trial."""
        return self.root / "trials.csv"

    @property
    def tensorboard(self) -> Path:
        """A folder per trial, one HParams experiment for all."""
        return self.root / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """A folder per trial, by number."""
        return self.root / "checkpoints"

    def checkpoint(self, number: int) -> Path:
        """The folder of one trial's last and best."""
        return self.checkpoints / str(number)

    def answers(self, number: int) -> Path:
        """What one finished trial answered on validation; stays when its checkpoint goes."""
        return self.root / "answers" / f"{number}.npz"

    @property
    def refits(self) -> Path:
        """What training the best trials again leaves: a study, and a folder for each."""
        return self.root / "refits"

    @property
    def refit_study(self) -> Path:
        """The Optuna study of it, SQLite."""
        return self.refits / "study.db"

    @property
    def refit_checkpoints(self) -> Path:
        """A folder per refit, by the number it has in that study."""
        return self.refits / "checkpoints"

    @property
    def best(self) -> Path:
        """The exported winner."""
        return self.root / "best"

    @property
    def report(self) -> Path:
        """The page that people read."""
        return self.root / "report.html"

    @property
    def result(self) -> Path:
        """The summary that programs read."""
        return self.root / "result.json"

    @property
    def tested(self) -> Path:
        """What was answered on the test part, image by image."""
        return self.root / "tested.npz"

    @property
    def test_opened(self) -> Path:
        """When the test part was opened, for which trial, and what came out."""
        return self.root / "test_opened.json"

    @property
    def ray(self) -> Path:
        """Ray's own folders while the run lasts."""
        return self.root / ".ray"

    @property
    def lock_file(self) -> Path:
        """Locked by the process that writes to the run, with its id in it."""
        return self.root / ".lock"

    def write_text(self, path: Path, text: str) -> None:
        """Writes a file so that readers see all of it or what was there before.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the rename itself survives a power cut
            finally:
                os.close(folder)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise _cannot(f"write {path}", error) from error

    def write_json(self, path: Path, value: Any) -> None:
        """Writes a value as JSON, as `write_text` does.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
            ValueError: the value holds NaN or infinity, which JSON has no word for.
        """
        self.write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def read_json(self, path: Path) -> Any:
        """What `write_json` wrote.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"run {self.name!r}: cannot read {path}: {error}.") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process; the kernel lets go of it when the process ends, however.

        Raises:
            RunError: another process holds it, or the folder cannot be written.
        """
        try:
            # Not inherited by what is started from here: a Ray process that outlives a killed
            # driver must not keep its lock.
            handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _cannot(f"lock {self.lock_file}", error) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(handle, 32).decode("ascii", "replace").strip()
                who = f"process {holder}" if holder else "another process"
                raise RunError(
                    f"run {self.name!r} is being written by {who}: wait for it, stop it, or "
                    "choose another --name."
                ) from None
            except OSError as error:
                raise _cannot(f"lock {self.lock_file}", error) from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode("ascii"), 0)
            yield
        finally:
            os.close(handle)


def create_run(
    out: str | Path, *, name: str | None, stem: str, taken: Collection[str] = ()
) -> RunDir:
    """Claims a new folder under `out`, which is made where it is missing.

    Args:
        out: Folder of the runs.
        name: The folder's name; None: `stem`, or `stem-2`, `stem-3`, ... where that is taken.
        stem: The space file's name without its ending.
        taken: Names that are not given to a run that has none.

    Raises:
        RunError: the name is taken, or the folder cannot be made.
    """
    folder = Path(out).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if name is not None:
            (folder / name).mkdir()
            return RunDir(folder / name)
        number = 1
        while True:
            root = folder / (stem if number == 1 else f"{stem}-{number}")
            number += 1
            # Two commands at once: one of them gets FileExistsError.
            with suppress(FileExistsError):
                if root.name not in taken:
                    root.mkdir()
                    return RunDir(root)
    except FileExistsError as error:
        if name is None or not (folder / name).exists():
            raise _cannot(f"make {folder}", error) from error
        raise RunError(
            f"run {name!r} exists in {folder}: add --resume to go on with it, or choose another "
            "--name."
        ) from None
    except OSError as error:
        raise _cannot(f"make a run in {folder}", error) from error


def resume_run(out: str | Path, *, name: str | None, stem: str) -> RunDir:
    """The run to go on with.

    Args:
        out: Folder of the runs.
        name: The folder's name; None: the latest run of this stem, by its manifest's time.
        stem: The space file's name without its ending.

    Raises:
        RunError: there is no such run, or it was interrupted before it had a manifest.
    """
    folder = Path(out).expanduser().absolute()
    if name is not None:
        run = RunDir(folder / name)
        if not run.root.is_dir():
            raise RunError(f"no run {name!r} in {folder}{_there(folder)}.")
        if not run.manifest.is_file():
            raise RunError(
                f"{run.root} holds no manifest.json: it is no run, or was interrupted before it "
                "began. Choose another --name without --resume."
            )
        return run
    pattern = re.compile(re.escape(stem) + r"(?:-(\d+))?")
    found = []
    for run in _runs(folder):
        match = pattern.fullmatch(run.name)
        if match:
            found.append((run.manifest.stat().st_mtime_ns, int(match[1] or 1), run))
    if not found:
        raise RunError(f"no run of {stem} to resume in {folder}{_there(folder)}.")
    return max(found, key=lambda entry: entry[:2])[2]


def open_run(path: str | Path) -> RunDir:
    """A run that is on disk already, to be read.

    Raises:
        RunError: the path is no run's folder.
    """
    root = Path(path).expanduser().absolute()
    if not (root / "manifest.json").is_file():
        raise RunError(f"{path} is no run's folder: it holds no manifest.json{_there(root.parent)}")
    return RunDir(root)


def _runs(folder: Path) -> list[RunDir]:
    return [RunDir(path.parent) for path in sorted(folder.glob("*/manifest.json"))]


def _there(folder: Path) -> str:
    names = [run.name for run in _runs(folder)] if folder.is_dir() else []
    return f"; it has {', '.join(names)}" if names else "; it has none"


def _cannot(what: str, error: OSError) -> RunError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"cannot {what}: the disk is full. Free some space, then --resume.")
    return RunError(f"cannot {what}: {error.strerror or error}.")
