"""What happens when the trials are over: the winner, its threshold, and the test part, once.

The order keeps the test part honest: the winner and its threshold are fixed on validation, that is
written down, and only then is the test part opened. Opening it is on record before it happens, so
that a kill in between still counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.controls import answer_as_controls, score_controls
from search.errors import TrialsError
from search.keeping import keep_all_answers, ranked
from search.opening import Sealed, open_test
from search.result import finite
from search.rundir import RunDir
from search.scores import Measured, compare, measured
from search.trials import TrialRow, trial_seed
from search.validation import choose_eligible, correct
from xfer.data.dataset import Dataset
from xfer.data.fact_table import FactTable
from xfer.evaluate.calibration import Calibration
from xfer.recipe import Objective, from_json, to_json


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What came of a search."""

    best: TrialRow
    """The winner, chosen on validation."""
    threshold: Mapping[str, Any] | None
    """`value`, `chosen_on`, `rule`, `supported`, `said`; None with several classes."""
    test: Mapping[str, Any] | None
    """As `search.result.with_intervals` gives it; None: the test part stays closed."""
    controls: Mapping[str, Any] | None
    """By name, the same of what the winner has to beat, and by how much it does (`difference`, as
    `search.scores.compare` gives it); None: likewise."""
    corrected: Mapping[str, Any] | None
    """The best search score without the luck of the choice, as `search.validation.correct` gives
    it."""
    opened: int
    """How often the test part has been opened in this run."""
    marks: tuple[str, ...]
    """What a reader has to know before believing the rest."""


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Trials were scored on folds: the winner is still to be trained as a whole."""

    seed: int
    """The run's."""
    threads: int
    """Of torch, as trials had them."""


def choose_winner(rows: Sequence[TrialRow]) -> TrialRow:
    """The finished trial with the best search score; of equal ones the earlier.

    Where time was up before any was finished, the best of those that were begun.

    Raises:
        TrialsError: no trial has a score; with what ended them.
    """
    for state in ("complete", "waiting"):
        there = [row for row in rows if row.state == state and row.value is not None]
        if there:
            return max(there, key=lambda row: (row.value or 0.0, -row.number))
    reasons = sorted({f"{row.state}: {row.ended}" for row in rows if row.ended})
    why = "; ".join(reasons[:5]) if reasons else "there was no time for one"
    raise TrialsError(f"no trial could be finished, so there is no model ({why}).")


def finish(
    run: RunDir,
    rows: Sequence[TrialRow],
    data: Dataset,
    objective: Objective,
    *,
    demo: bool,
    facts: FactTable | None = None,
    sealed: Sealed | None = None,
    reopen_test: bool = False,
    folded: Folded | None = None,
    about: Mapping[str, Any] | None = None,
) -> Finished:
    """Chooses the winner, exports it, and scores it on the test part.

    Args:
        run: its folder; checkpoints of the winner are there.
        rows: every trial.
        data: with its test part, and with pixels for every model of the space.
        objective: what was maximised, and the rule for the threshold that ships.
        demo: the images are built in.
        facts: of all images, for the control that knows nothing else; None: there is none.
        sealed: the test images, for the ledger; None: it is not written.
        folded: where trials were scored on folds: the winner is trained as a whole, on train with
            val to choose its epoch, and its threshold comes from the answers out of fold.
        reopen_test: score on the test part although an earlier winner of this run was.
        about: lines for the model card.

    Raises:
        TrialsError: no trial was finished.
        ModelFileError: the winner's checkpoint is missing or damaged.
    """
    from xfer.checkpoint import read_best, restore_best
    from xfer.cross_validate import read_out_of_fold
    from xfer.evaluate.calibration import fit_calibration
    from xfer.evaluate.thresholds import choose_threshold
    from xfer.export import export
    from xfer.models.interpolation import interpolation_of
    from xfer.numerics import pick_device
    from xfer.steps import strata

    keep_all_answers(run, rows, data, objective, folds=folded is not None)
    best, marks = choose_winner(rows), list[str]()
    if best.state == "complete":
        best, marks = choose_eligible(run, ranked(rows))
    recipe = from_json(best.recipe)
    data = data.interpolated(interpolation_of(recipe.model))
    folder = run.checkpoint(best.number)
    if best.state != "complete":
        steps = "epochs" if folded is None else "folds"
        marks.append(
            f"Time was up before a trial was finished: trial {best.number} had trained for "
            f"{len(best.scores)} {steps}. --resume with more --minutes goes on."
        )
    if folded is None:
        kept, asked = read_best(folder), data.splits["val"]
        chosen_on = f"validation, {len(kept.labels)} images"
    else:
        kept = read_out_of_fold(folder, len(best.scores))
        asked = kept.rows
        chosen_on = (
            f"{len(kept.labels)} images of {len(best.scores)} folds, each answered by a model that "
            "had not seen it"
        )
        folder = _train_whole(folder / "whole", best, data, objective, folded)
    chosen = threshold = None
    patients = [data.patients[i] for i in asked]
    calibration = fit_calibration(kept.logits, kept.labels)
    answered = calibration.apply(kept.logits)
    if not calibration.ranks:
        marks.append(calibration.said)
    if data.positive is not None:
        scores = answered[:, data.positive]
        chosen = choose_threshold(
            objective.threshold,
            objective,
            scores,
            kept.labels,
            patients=patients,
            subgroups=strata(objective, data, asked),
        )
        if (scores < chosen.value).all():
            marks.append(
                f"At its threshold of {chosen.value:g} the model calls none of the {len(scores):,} "
                f"images it was chosen on {data.classes[data.positive]}: everybody is missed."
            )
        if (scores >= chosen.value).all():
            marks.append(
                f"The model tells nobody apart: at its threshold of {chosen.value:g} all "
                f"{len(scores):,} images it was chosen on count as {data.classes[data.positive]}."
            )
        threshold = {
            "value": chosen.value,
            "chosen_on": chosen_on,
            "rule": to_json(objective.threshold),
            "supported": chosen.supported,
            "said": chosen.said,
        }
        if not chosen.supported:
            marks.append(chosen.said)
    net = restore_best(folder, device=pick_device())
    at = None if chosen is None else chosen.value
    scored: list[Measured] = []

    def on_test() -> Measured:
        scored[:] = scored or [score(net, data, "test", calibration, threshold=at)]
        return scored[0]

    def against() -> dict[str, Any]:
        trials = [row for row in rows if row.number != best.number and folded is None]
        answers = answer_as_controls(data, objective, facts=facts, run=run, rows=trials)
        others = score_controls(answers, data, objective)
        return {
            name: finite(other.metrics | {"difference": compare(on_test(), other, objective)})
            for name, other in others.items()
        }

    opened = open_test(
        run,
        {"trial": best.number, "epoch": best.best_epoch, "steps": len(best.scores), "at_least": at},
        score=lambda: on_test().metrics,
        compare=against,
        sealed=sealed,
        reopen=reopen_test,
    )
    marks += opened.marks
    on_validation = measured(
        answered,
        kept.labels,
        patients,
        data.classes,
        threshold=at,
    ).metrics
    export(
        run.best,
        net,
        recipe,
        data,
        threshold=chosen,
        calibration=calibration,
        metrics={
            "val": on_validation,
            **({} if opened.test is None else {"test": opened.test}),
        },
        about={**(about or {}), **({"marks": " ".join(marks)} if marks else {})},
        demo=demo,
    )
    return Finished(
        best=best,
        threshold=threshold,
        test=opened.test,
        controls=opened.controls,
        corrected=correct(run, ranked(rows), data, objective),
        opened=opened.times,
        marks=tuple(marks),
    )


def _train_whole(
    folder: Path, best: TrialRow, data: Dataset, objective: Objective, folded: Folded
) -> Path:
    """Trains the winner on train, with val to choose its epoch; returns its checkpoint's folder."""
    from xfer.numerics import set_threads
    from xfer.train import fit

    set_threads(folded.threads)
    seed = trial_seed(folded.seed, best.number)
    for _ in fit(
        from_json(best.recipe), data.without("test"), objective, seed=seed, checkpoint=folder
    ):
        pass
    return folder


def score(
    net: Any, data: Dataset, part: str, calibration: Calibration, *, threshold: float | None
) -> Measured:
    """Metrics of a model on one part of the data."""
    from xfer.steps import predict_logits

    rows = data.splits[part]
    device = next(net.parameters()).device
    logits = predict_logits(net, data.pixels, rows, device=device)
    probabilities = calibration.apply(logits.numpy())
    patients = [data.patients[i] for i in rows]
    return measured(probabilities, data.labels[rows], patients, data.classes, threshold=threshold)
