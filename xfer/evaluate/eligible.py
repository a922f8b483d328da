"""Is a trial better than an answer that looks at no image, or may it only have been lucky?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xfer.evaluate.objectives import SAME, Subgroups, best_constant, search_score
from xfer.evaluate.redraws import Case, Patients, dealt_out, make_case, redrawn
from xfer.recipe import Objective

LOWER = 0.05
"""Share of the draws below the lower bound."""
LUCK = 0.01
"""How often a trial that has learnt nothing may pass for one that has."""


def skill(
    objective: Objective,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    subgroups: Subgroups = None,
) -> float:
    """(search score - best constant) / (1 - best constant): 1 is perfect, 0 no better than blind.

    0.0 where the best constant is 1 already, as of `recall_weighted` with a weight of 1. Below 0
    for an order worse than none.

    Args:
        objective: what is maximised.
        probabilities: (images, classes), float.
        labels: (images,), indices of classes.
        subgroups: (images,), of use to `over="worst_subgroup"` only.

    Raises:
        DataError: as `search_score` says.

    >>> answers = [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]]
    >>> round(skill(Objective("balanced_accuracy"), answers, [0, 0, 1, 1]), 12)
    0.5
    """
    score, _ = search_score(objective, probabilities, labels, subgroups=subgroups)
    classes = np.asarray(probabilities).shape[1]
    constant = best_constant(objective, labels, classes=classes, subgroups=subgroups)
    return 0.0 if constant >= 1.0 - SAME else (score - constant) / (1.0 - constant)


def lower_score(case: Case, *, seed: int) -> float:
    """One-sided 95 % lower bound of the objective at the threshold of `search_score`.

    The 5 % quantile over bootstrap draws of patients. The threshold stays as it was chosen, on the
    same images, so the bound is optimistic as the score is; `specificity_at_recall` and
    `recall_at_specificity` bring their own to each draw.

    Patients are drawn among those whose images are of the same classes (and subgroups, where they
    count), so that a draw holds all that the data holds. A class of one patient looks more certain
    than it is.

    Args:
        case: answers, labels and patients.
        seed: of the draws; the same gives the same bound.
    """
    return float(np.quantile(redrawn(case, np.random.default_rng(seed)), LOWER))


def luck(case: Case, *, seed: int) -> float:
    """How often answers that know nothing of the labels get a search score as high as this one.

    The p of a permutation test, (1 + draws that reach the score) / (1 + draws): labels are dealt
    out anew among patients, and each draw has its own best threshold, so that having chosen one is
    accounted for. A patient takes another's labels in their order, repeated or cut to the number of
    its own images; a draw that loses a class or a subgroup counts as one that reaches the score.

    Source: B. Phipson and G. K. Smyth, Statistical Applications in Genetics and Molecular Biology
    9, 2010.

    Args: as of `lower_score`.
    """
    score, _ = search_score(
        case.objective, case.probabilities, case.truth, subgroups=case.subgroups
    )
    reached = np.count_nonzero(dealt_out(case, np.random.default_rng(seed)) >= score - SAME)
    return (1 + reached) / (1 + case.draws)


def eligible(
    objective: Objective,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: Patients = None,
    *,
    seed: int,
    draws: int = 500,
    subgroups: Subgroups = None,
) -> bool:
    """Whether `lower_score` exceeds `best_constant`, and `luck` is at most `LUCK`.

    A trial that is not eligible cannot win. None is where the best constant is 1, as of
    `recall_weighted` with a weight of 1, or where patients are too few to tell skill from luck:
    six of which three are positive can be dealt in 20 ways only.

    Args:
        objective: what is maximised.
        probabilities: (images, classes), float; taken as float32, as models give them: what differs
            by less is the same answer.
        labels: (images,), indices of classes.
        patients: (images,), any names; None: each image is a patient.
        seed: of the draws.
        draws: at least 100.
        subgroups: (images,), of use to `over="worst_subgroup"` only.

    Raises:
        DataError: as `search_score` says, another number of patients than of images, or too few
            draws.
    """
    case = make_case(objective, probabilities, labels, patients, draws=draws, subgroups=subgroups)
    classes = case.probabilities.shape[1]
    constant = best_constant(objective, labels, classes=classes, subgroups=subgroups)
    if lower_score(case, seed=seed) <= constant + SAME:
        return False
    return luck(case, seed=seed) <= LUCK
