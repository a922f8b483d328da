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


def correct(
    run: RunDir, rows: Sequence[TrialRow], data: Dataset, objective: Objective
) -> dict[str, Any] | None:
    """The best search score, corrected for having been chosen among the trials that may win.

    With folds it is the score of all answers out of fold together.

    Returns:
        `value`, `low` and `high`, the score as it was (`naive`), the number of `trials` and of
        `images`; None where trials have no answers to the same images, or patients, of a class or a
        subgroup, are too few.
    """
    import numpy as np

    found_of = [read_answers(run, row.number) for row in rows]
    kept = [answers for answers in found_of if answers is not None and answers.eligible]
    if not kept or any(not np.array_equal(kept[0].rows, other.rows) for other in kept):
        return None
    return _correct(
        [answers.logits for answers in kept], kept[0].labels, kept[0].rows, data, objective
    )


def correct_final(final: Final, data: Dataset, objective: Objective) -> dict[str, Any] | None:
    """The best finalist's score, corrected for having been chosen among the finalists.

    By the answers out of fold to the images of train: those of validation have chosen the
    finalists, and have had their say.

    Returns:
        as `correct`.
    """
    import numpy as np

    answers = [refit.answers for refit in final.refits]
    fresh = np.isin(answers[0].rows, data.splits["train"])
    return _correct(
        [each.logits[fresh] for each in answers],
        answers[0].labels[fresh],
        answers[0].rows[fresh],
        data,
        objective,
    )


def _correct(
    logits: Sequence[np.ndarray],
    labels: np.ndarray,
    rows: np.ndarray,
    data: Dataset,
    objective: Objective,
) -> dict[str, Any] | None:
    import numpy as np

    from xfer.errors import DataError
    from xfer.evaluate.answers import ranked as as_ranked
    from xfer.evaluate.selection import corrected
    from xfer.steps import strata

    given = np.stack([as_ranked(objective, each) for each in logits])
    binary = data.positive is not None
    try:
        found = corrected(
            given[:, :, 1] if binary else given,
            labels,
            whose(data, labels, rows),
            objective,
            seed=_SEED,
            repeats=40 if binary else 5,  # each class anew: slower
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
