"""What does a finished run hold, for setting it beside others? Its answers, and what it trained."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.errors import RunError
from search.messages import near
from search.rundir import RunDir
from search.tested import Tested, read_tested
from search.trials_csv import CsvRow, read_trials_csv

_DUE = (
    "name", "state", "ended", "trained", "seconds", "recipe", "test", "untested", "published",
    "differs",
)  # fmt: skip
"""What is read of an experiment in result.json."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """A run whose test part was opened."""

    folder: Path
    """As it was given."""
    label: str
    """Its name; with others of that name, the folder."""
    result: Mapping[str, Any]
    """result.json."""
    manifest: Mapping[str, Any]
    """manifest.json."""
    trials: tuple[CsvRow, ...]
    """trials.csv."""
    tested: Tested
    """What was answered on the test part."""

    @property
    def demo(self) -> bool:
        """Its images are built in and show nothing about the world."""
        return bool(self.result.get("demo"))

    @property
    def seed(self) -> int:
        """Of its trainings."""
        return int(self.result["seed"])

    @property
    def experiments(self) -> Sequence[Mapping[str, Any]] | None:
        """Known configurations, where nothing else was trained; None: it was a search."""
        return self.result["experiments"]

    def setting(self, experiment: Mapping[str, Any]) -> dict[str, Any]:
        """With what an experiment was trained, seed and machine apart, by what it is.

        Args:
            experiment: of `experiments`.
        """
        plan = self.manifest["plan"]
        return {
            "recipe": experiment["recipe"],
            "images or parts": self.manifest["data"]["digest"],
            "way of decoding": {k: value for k, value in plan["data"].items() if k != "path"},
            "folds": plan["options"]["folds"],
        }


def read_finished(folders: Sequence[str]) -> tuple[list[FinishedRun], list[str]]:
    """Runs that can be read, and everything that is wrong with the others."""
    runs, problems = [], []
    seen: set[Path] = set()
    for given in folders:
        folder = Path(given)
        if folder.resolve() in seen:
            problems.append(f"{given} is given twice; leave one out")
            continue
        seen.add(folder.resolve())
        try:
            runs.append(_read(folder))
        except RunError as error:
            problems.append(str(error).rstrip("."))
    names = [run.label for run in runs]
    return [
        run if names.count(run.label) == 1 else _called(run, str(run.folder)) for run in runs
    ], problems


def _called(run: FinishedRun, label: str) -> FinishedRun:
    return replace(run, label=label)


def _read(folder: Path) -> FinishedRun:
    if not folder.is_dir():
        there = [each.name for each in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise RunError(f"there is no run {folder}{near(folder.name, sorted(there))}")
    run = RunDir(folder.absolute())
    if not run.manifest.is_file():
        raise RunError(f"{folder} is no run's folder: it has no {run.manifest.name}")
    manifest = _document(run.manifest)
    if not run.result.is_file():
        raise _unfinished(run, manifest)
    result = _document(run.result)
    if result.get("interrupted"):
        raise _unfinished(run, manifest)
    tested = read_tested(run.tested)
    _check_whole(run, result, manifest, tested)
    try:
        trials = tuple(read_trials_csv(run.trials.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(f"cannot read {run.trials}: {type(error).__name__}: {error}") from error
    return FinishedRun(
        folder=folder,
        label=str(result["name"]),
        result=result,
        manifest=manifest,
        trials=trials,
        tested=tested,
    )


def _document(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"cannot read {path}: it is no JSON object")
    return value


def _unfinished(run: RunDir, manifest: Mapping[str, Any]) -> RunError:
    words = list(manifest.get("command") or ("python", "-m", "search.run", "SPACE"))
    for flag, value in (("--name", [run.name]), ("--resume", [])):
        words += [] if flag in words else [flag, *value]
    return RunError(f"{run.root} is not finished; go on with it: {shlex.join(words)}")


def _check_whole(
    run: RunDir, result: Mapping[str, Any], manifest: Mapping[str, Any], tested: Tested
) -> None:
    """Raises RunError where files of a run do not say what they must, or not the same."""
    try:
        experiments = result["experiments"] or ()
        for experiment in experiments:
            list(map(experiment.__getitem__, _DUE))
        plan, digest = manifest["plan"], manifest["data"]["digest"]
        list(map(str, (plan["data"], plan["options"]["folds"], digest, result["name"])))
        int(result["seed"])
        told = {each["name"] for each in experiments if each["test"] is not None}
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{run.root} cannot be read: {type(error).__name__} {error} in {run.result.name} or "
            f"{run.manifest.name}"
        ) from error
    best, opened = (result.get("best") or {}).get("number"), int(tested.numbers[0])
    if best != opened or result.get("test") is None:
        raise RunError(
            f"{run.root}: trial {best} wins now, and the test part was opened for trial {opened} "
            "as it was then; --resume --reopen-test scores the winner, and every output says so"
        )
    answered = set(tested.names[1:])
    if told != answered:
        other = ", ".join(map(repr, sorted(told ^ answered)))
        raise RunError(
            f"{run.root}: {run.result.name} and {run.tested.name} are of different openings of the "
            f"test part; only one has {other}. Copy both again from where the run was made"
        )
