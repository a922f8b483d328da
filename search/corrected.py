"""How much of the best search score is the luck of having been chosen?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.refits import Final
from search.rundir import RunDir
from search.trials import TrialRow
from search.validation import read_answers, whose
from xfer.recipe import Objective

if TYPE_CHECKING:
    import numpy as np

    from xfer.data.dataset import Dataset

_SEED = 0  # of draws: the same answers, the same verdict
_NUMBERS = 15_000_000
"""Answers times dealings of patients that are looked at: of 60 trials of 20 epochs and 600 images
20 dealings, which take 1.5 to 2.7 s of one core."""
_FEWEST = 2
"""Dealings at least; with each, all patients have been out of a bag once."""


def correct(
    run: RunDir, rows: Sequence[TrialRow], data: Dataset, objective: Objective, *, folds: bool
) -> dict[str, Any] | None:
    """The best search score, corrected for having been chosen among the trials that may win.

    With folds it is the score of all answers out of fold together. Without, each trial's epoch was
    chosen on the same images, too, and the choice that is repeated is among all epochs.

    Trials that were pruned are no candidates: they cannot win. Pruning looked at these images, too,
    but it spares whoever is behind by no more than chance. Measured over 6 cases of 50 searches (16
    trials of 20 epochs, of equal skill or not, 100 images, three objectives; chance alone gives .1
    to .15), the bias was .04 to .36 standard errors; with the pruned ones' epochs among the
    candidates it was lower by .00 to .03. Pruned by order alone it would be .39 to .66, and .15 to
    .30 with them.

    Returns:
        `value`, `low` and `high`, the score as it was (`naive`), the number of `trials` and of
        `images`, and what they are (`by`): `folds`; `epochs`, validation, with the choice of the
        epoch; `validation`, without it, of runs that began before all epochs' answers were kept.
        None where trials have no answers to the same images, or patients, of a class or a
        subgroup, are too few.
    """
    import numpy as np

    found_of = [read_answers(run, row.number) for row in rows]
    kept = [answers for answers in found_of if answers is not None and answers.eligible]
    if not kept or any(not np.array_equal(kept[0].rows, other.rows) for other in kept):
        return None
    epochs = [[each.logits] if each.epochs is None else list(each.epochs) for each in kept]
    found = _correct(epochs, kept[0].labels, kept[0].rows, data, objective)
    every = all(each.epochs is not None for each in kept)
    by = "folds" if folds else "epochs" if every else "validation"
    return None if found is None else found | {"by": by}


def correct_final(final: Final, data: Dataset, objective: Objective) -> dict[str, Any] | None:
    """The winner's score by its fold models, corrected for the choice of it and of its threshold.

    By the answers out of fold to the images of train: those of validation have chosen the
    finalists, and have had their say. The winner is the finalist with the best mean over folds and
    need not be the one with the best score of all folds together; its own score is lowered by what
    choosing that one and its threshold brings.

    Returns:
        as `correct`; `by` is `finalists`.
    """
    import numpy as np

    answers = [refit.answers for refit in final.refits if refit.eligible]
    fresh = np.isin(answers[0].rows, data.splits["train"])
    labels, rows = answers[0].labels[fresh], answers[0].rows[fresh]
    alone, among = (
        _correct([[each.logits[fresh]] for each in of], labels, rows, data, objective)
        for of in ([final.chosen.answers], answers)
    )
    if alone is None or among is None:
        return None
    value = alone["naive"] - max(among["naive"] - among["value"], alone["naive"] - alone["value"])
    moved = value - alone["value"]
    return alone | {
        "value": value,
        "low": alone["low"] + moved,
        "high": min(alone["high"] + moved, 1.0),
        "trials": len(answers),
        "by": "finalists",
    }


def _correct(
    logits: Sequence[Sequence[np.ndarray]],
    labels: np.ndarray,
    rows: np.ndarray,
    data: Dataset,
    objective: Objective,
) -> dict[str, Any] | None:
    """Of each trial's logits (images, classes), one or of several epochs."""
    import numpy as np

    from xfer.errors import DataError
    from xfer.evaluate.answers import ranked as as_ranked
    from xfer.evaluate.correction import corrected
    from xfer.steps import strata

    binary = data.positive is not None
    answers = [
        as_ranked(objective, epoch.astype(np.float64))[:, 1 if binary else slice(None)]
        for of_trial in logits
        for epoch in of_trial
    ]
    most = 40 if binary else 5  # each class anew: slower
    numbers = sum(answer.size for answer in answers)
    try:
        found = corrected(
            np.stack(answers),
            labels,
            whose(data, labels, rows),
            objective,
            seed=_SEED,
            trials=[trial for trial, of_trial in enumerate(logits) for _ in of_trial],
            repeats=min(max(_NUMBERS // numbers, _FEWEST), most),
            subgroups=strata(objective, data, rows),
        )
    except DataError:
        return None
    return {
        "value": found.corrected,
        "low": found.low,
        "high": found.high,
        "naive": found.naive,
        "trials": len(logits),
        "images": len(labels),
    }
