"""What happens when the trials are over: the winner, its threshold, and the test part, once.

The order keeps the test part honest: the winner and its threshold are fixed without it, that is
written down, and only then is the test part opened. Opening it is on record before it happens, so
that a kill in between still counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from search.basis import basis_of, chosen_basis
from search.controls import ENSEMBLE, answer_as_controls, score_controls, unbeaten
from search.corrected import correct, correct_final
from search.errors import TrialsError
from search.finished import Finished
from search.front import front, front_json
from search.gap import caution_of
from search.keeping import first_known, keep_all_answers, ranked
from search.known_tests import answer_known, keep_and_score
from search.opening import Sealed, open_test
from search.refits import Final
from search.result import finite
from search.rundir import RunDir
from search.scores import Measured, compare, measured, score
from search.trials import TrialRow
from search.validation import choose_eligible, judge, may_win
from search.whole import Folded, train_whole
from xfer.data.dataset import Dataset
from xfer.data.fact_table import FactTable
from xfer.data.folds import Fold
from xfer.recipe import Objective, from_json, to_json


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
    experiments: bool = False,
    folded: Folded | None = None,
    final: Final | None = None,
    ensemble: int = 0,
    refit_folds: Sequence[Fold] = (),
    remarks: Sequence[str] = (),
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
        final: what came of training the best again: it says who wins; None: validation does.
        ensemble: so many of the best finalists answer together, too, where there are two.
        refit_folds: that the finalists were trained on, or the trials.
        remarks: what a reader has to know before believing the rest, known already.
        reopen_test: score on the test part although an earlier winner of this run was.
        experiments: score all known configurations there, too.
        about: lines for the model card.

    Raises:
        TrialsError: no trial was finished.
        ModelFileError: the winner's checkpoint is missing or damaged.
    """
    from xfer.checkpoint import restore_best
    from xfer.cross_validate import read_out_of_fold
    from xfer.evaluate.calibration import fit_calibration
    from xfer.evaluate.thresholds import choose_threshold
    from xfer.export import export
    from xfer.models.interpolation import interpolation_of
    from xfer.numerics import pick_device
    from xfer.steps import strata

    keep_all_answers(run, rows, data, objective, folds=folded is not None)
    best, marks = choose_winner(rows), list(remarks)
    if best.state == "complete":
        best, passed = (final.chosen.row, []) if final else choose_eligible(run, ranked(rows))
        marks += passed
    recipe = from_json(best.recipe)
    every = data
    data = data.interpolated(interpolation_of(recipe.model))
    folder = run.checkpoint(best.number)
    if best.state != "complete":
        steps = "epochs" if folded is None else "folds"
        marks.append(
            f"Time was up before a trial was finished: trial {best.number} had trained for "
            f"{len(best.scores)} {steps}. --resume with more --minutes goes on."
        )
        said = judge(run, best, data, objective, folds=folded is not None)
        marks += [] if said is None else [said]
    if folded is None:
        basis = basis_of(run, best, data, final=final)
    else:
        refit = None if final is None else final.of(best)
        answers = read_out_of_fold(folder, len(best.scores)) if refit is None else refit.answers
        folder = train_whole(folder / "whole", best, data, objective, folded)
        basis = chosen_basis(folder, data, answers)
    marks += [basis.mark] if basis.mark else []
    chosen = threshold = None
    patients = [data.patients[i] for i in basis.rows]
    calibration = fit_calibration(basis.logits, basis.labels)
    answered = calibration.apply(basis.logits)
    if not calibration.ranks:
        marks.append(calibration.said)
    if data.positive is not None:
        scores = answered[:, data.positive]
        chosen = choose_threshold(
            objective.threshold,
            objective,
            scores,
            basis.labels,
            patients=patients,
            subgroups=strata(objective, data, basis.rows),
            low=None if basis.low is None else calibration.apply(basis.low)[:, data.positive],
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
        if basis.part == "folds":
            chosen = replace(
                chosen,
                said=f"{chosen.said} That was found by fold models, trained as this one was on "
                "other parts of the same images; what their scale may err by is in the bound.",
            )
        threshold = {
            "value": chosen.value,
            "chosen_on": basis.said,
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

    together = [] if folded or final is None else final.best(ensemble)

    def against() -> dict[str, Any]:
        folds = refit_folds if basis.part == "folds" else ()
        answers = answer_as_controls(
            every,
            objective,
            facts=facts,
            folds=folds,
            run=None if folded else run,
            rows=rows,
            winner=best,
            final=final,
            ensemble=together,
        )
        others = score_controls(answers, data, objective)
        told = {
            name: finite(other.metrics | {"difference": compare(on_test(), other, objective)})
            for name, other in others.items()
        }
        if ENSEMBLE in told:
            told[ENSEMBLE] = {"trials": [row.number for row in together], **told[ENSEMBLE]}
        return told

    opened = open_test(
        run,
        {"trial": best.number, "epoch": best.best_epoch, "steps": len(best.scores), "at_least": at},
        score=lambda: on_test().metrics,
        compare=against,
        experiment=lambda: keep_and_score(
            run,
            best,
            on_test(),
            answer_known(run, rows, every) if experiments else (),
            data,
            threshold=at,
        ),
        sealed=sealed,
        reopen=reopen_test,
    )
    marks += opened.marks
    if tested := sum("untested" not in one for one in (opened.experiments or {}).values()):
        marks.append(
            f"{tested} experiments were scored in this opening: whoever chooses by their numbers "
            "on test needs new test images to know how good the choice is."
        )
    controls = None if opened.controls is None else dict(opened.controls)
    averaged = None if controls is None else controls.pop(ENSEMBLE, None)
    first = first_known(rows)
    searched = len(ranked(rows)) > 1 and not experiments
    if first is not None and first.number == best.number and searched:
        marks.append("The winner is the first known configuration: nothing better was found.")
    marks += unbeaten(controls or {})
    on_validation = measured(
        answered,
        basis.labels,
        patients,
        data.classes,
        threshold=at,
        subgroups=[data.subgroups[i] for i in basis.rows],
    ).metrics
    export(
        run.best,
        net,
        recipe,
        data,
        threshold=chosen,
        calibration=calibration,
        metrics={
            basis.part: on_validation,
            **({} if opened.test is None else {"test": opened.test}),
        },
        chosen_on=basis.said,
        marks=marks,
        opened=opened.times,
        caution=caution_of(data),
        about=about,
        demo=demo,
    )
    return Finished(
        best=best,
        threshold=threshold,
        test=opened.test,
        controls=controls,
        experiments=opened.experiments,
        corrected=(
            correct(run, ranked(rows), data, objective, folds=folded is not None)
            if final is None or folded
            else correct_final(final, data, objective)
        ),
        ensemble=averaged,
        finalists=None if final is None else final.to_json(),
        opened=opened.times,
        marks=tuple(marks),
        val=on_validation,
        val_part=basis.part,
        front=_front(run, rows, objective),
    )


def _front(
    run: RunDir, rows: Sequence[TrialRow], objective: Objective
) -> list[dict[str, Any]] | None:
    if objective.minimise is None:
        return None
    return front_json(front(rows, lambda number: may_win(run, number)), objective.minimise)
