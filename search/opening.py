"""How is the test part opened? Once, for one winner, and on record before it happens.

`test_opened.json` has an entry for every opening: for which model, when, and what came out. A kill
leaves an entry without a result; the same model, opened again, gives the same one and counts once.
A model is the same where trial, epoch and threshold are: a trial that has trained on is another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from search.ledger import Ledger, said
from search.rundir import RunDir


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """Test images, as the ledger knows them."""

    contents: Sequence[str]
    """Digests of the images."""
    run_id: str
    """What tells this run from others of its name."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What is known of the test part now."""

    test: Mapping[str, Any] | None
    """Of this model; None: it was opened for another one."""
    controls: Mapping[str, Any] | None
    """Likewise."""
    experiments: Mapping[str, Any] | None
    """Likewise."""
    times: int
    """Openings in this run."""
    marks: tuple[str, ...]
    """What a reader has to know of them."""


def open_test(
    run: RunDir,
    model: Mapping[str, Any],
    *,
    score: Callable[[], Mapping[str, Any]],
    compare: Callable[[], Mapping[str, Any]],
    experiment: Callable[[], Mapping[str, Any]],
    sealed: Sealed | None,
    reopen: bool,
) -> Opened:
    """Scores a model on the test part, unless it was done, or another was before.

    Args:
        run: its folder.
        model: `trial`, and what else tells it from others; JSON.
        score: metrics of the model; reads the test part.
        compare: what it has to beat, by name; reads the test part.
        experiment: metrics of known configurations, by number; reads the test part.
        sealed: for the ledger; None: the images are drawn, and nobody counts.
        reopen: score this model although another was scored before.
    """
    notes = read_openings(run)
    last = notes[-1] if notes else {}
    again = all(last.get(name) == value for name, value in model.items())
    marks = []
    test, controls, experiments = (
        last.get(what) if again else None for what in ("test", "controls", "experiments")
    )
    openings = None
    if notes and not again and not reopen:
        other = f"trial {model['trial']}, which wins now"
        if last["trial"] == model["trial"]:
            other = "the same trial with the epoch or threshold that it has now"
        marks.append(
            f"The test part was opened for another model already (trial {last['trial']}; "
            f"test_opened.json has its result); {other}, was not scored on it. --resume "
            "--reopen-test does that, and every output will say so."
        )
    elif test is None or controls is None or experiments is None:
        note = last if again else {**model, "at": datetime.now(UTC).isoformat()}
        before = notes[:-1] if again else notes
        _write(run, [*before, note])
        if sealed is not None:
            made = "/".join(str(value) for value in model.values())
            openings = Ledger().open(
                sealed.contents, run=run.root, run_id=f"{sealed.run_id} {made}",
                trial=int(model["trial"]), at=note["at"],
            )  # fmt: skip
            note = {**note, "ledger": openings.problem}
        if test is None:
            test = score()
            note = {**note, "test": test}
            _write(run, [*before, note])
        if controls is None:
            controls = compare()
            note = {**note, "controls": controls}
            _write(run, [*before, note])
        experiments = experiment()
        _write(run, [*before, {**note, "experiments": experiments}])
    times = len(read_openings(run))
    if times > 1:
        marks.append(f"The test part was opened {times} times for this run.")
    if sealed is not None:
        openings = Ledger().look(sealed.contents) if openings is None else openings
        if openings.count > 1 or openings.shared or openings.problem:
            marks.append(said(openings))
        elif again and last.get("ledger"):
            marks.append(f"The ledger of opened test sets could not be kept: {last['ledger']}.")
    return Opened(
        test=test, controls=controls, experiments=experiments, times=times, marks=tuple(marks)
    )


def read_openings(run: RunDir) -> list[dict[str, Any]]:
    """Every opening in this run, the first first."""
    return run.read_json(run.test_opened) if run.test_opened.exists() else []


def _write(run: RunDir, notes: Sequence[Mapping[str, Any]]) -> None:
    run.write_json(run.test_opened, list(notes))
