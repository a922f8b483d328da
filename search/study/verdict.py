"""How is the end of a trial told to Optuna?"""

from __future__ import annotations

import optuna
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

TRAINABLE = "trainable"
"""Constraint that a trial does not meet which ran out of memory, or became not finite."""
FINISHED = "finished"
"""Constraint that a pruned trial does not meet, where there are two objectives.

Optuna 5's TPE ranks pruned trials by their last score and *the* direction of the study, which
raises where there are two. What violates a constraint it ranks by how much: after all that are
complete, as it does with pruned ones. The further a trial came, the less it violates this, and
always less than an infeasible one violates `TRAINABLE`, so that the order is that of one objective.
"""


def tell_verdict(study: Study, trial: FrozenTrial) -> None:
    """Tells Optuna what is on record as `ended`; a verdict cut short by a kill is told again.

    Args:
        study: the record.
        trial: RUNNING, with `ended`; a complete one with `best`, and where the study has two
            objectives with `cost`.
    """
    number, attributes = trial.number, trial.user_attrs
    state = attributes["ended"].partition(":")[0]
    two = len(study.directions) > 1
    if state == "complete":
        score = attributes["best"]["score"]
        study.tell(number, [score, attributes["cost"]] if two else score)
    elif state == "failed":
        study.tell(number, state=TrialState.FAIL)
    else:
        asked = optuna.trial.Trial(study, trial._trial_id)
        if state == "infeasible" and TRAINABLE not in trial.constraints:
            asked.set_constraint(TRAINABLE, 1.0)
        if state == "pruned" and two and FINISHED not in trial.constraints:
            asked.set_constraint(FINISHED, 1 / (1 + (trial.last_step or 1)))
        study.tell(number, state=TrialState.PRUNED)
