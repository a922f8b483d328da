"""Is what holds for all images true of each subgroup, or is one of them missed more often?

With a positive class: recall and specificity of each subgroup's own images, decided as shipped.
With several classes: accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate.answers import BoolArray
from xfer.evaluate.independent import apart
from xfer.evaluate.intervals import Proportion, proportion_by_patient

NONE = "no subgroup"
"""Images that are of none, where they hold what is measured."""
_WRONG = 0.05
"""How often a subgroup that is like the others is called worse, over all subgroups together."""


def measure_subgroups(
    decided: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: Sequence[str],
    subgroups: Sequence[str | None],
    *,
    binary: bool,
) -> dict[str, dict[str, Any]]:
    """By name of subgroup, what was found in it; empty where no image has a subgroup.

    Each holds `images` and `patients`; with a positive class `positives`, `recall` and
    `specificity` (None where it has no image to measure it on), else `accuracy`. A measure has
    `value`, `low` and `high`, Wilson's 95 % interval by patient. `recall` (or `accuracy`) also has

    * `against_others`: its difference from that of all other subgroups' images, with a 95 %
      interval; None where there are no others.
    * `below`: it is lower than theirs, at a confidence of 1 - .05 / subgroups, so that among many
      subgroups the unluckiest is not called worse (C. E. Bonferroni's bound). Subgroups are taken
      to be of different patients.

    Images of no subgroup are one more, NONE, where they hold positives (or with several classes
    any image); as in the objectives' `over="worst_subgroup"`.

    Args:
        decided: (images,), int, the classes they were called.
        labels: (images,), int, the classes they are.
        patients: (images,), whose they are.
        subgroups: (images,), names.
        binary: class 1 is the one that must not be missed.

    Raises:
        DataError: not one of each for every image.
    """
    called, truth, whose = np.asarray(decided), np.asarray(labels), np.asarray(patients)
    if not called.shape == truth.shape == whose.shape == (len(subgroups),):
        raise DataError(
            f"decisions {called.shape}, labels {truth.shape}, patients {whose.shape} and subgroups "
            f"({len(subgroups)},) must be of the same images."
        )
    if all(name is None for name in subgroups):
        return {}
    whose = np.unique(whose, return_inverse=True)[1]  # numbers: compared faster than names
    names = np.array([NONE if name is None else name for name in subgroups])
    asked = truth == 1 if binary else np.ones(len(truth), dtype=bool)
    there = [str(name) for name in np.unique(names) if name != NONE or asked[names == NONE].any()]
    right = called == truth
    compared = [name for name in there if asked[names == name].any()]
    found = {}
    for name in there:
        own = names == name
        entry: dict[str, Any] = {
            "images": int(own.sum()),
            "patients": len(np.unique(whose[own])),
        }
        main = _of_others(right, whose, own, asked, among=len(compared))
        if binary:
            entry["positives"] = int((own & asked).sum())
            entry["recall"] = main
            entry["specificity"] = _measured(right, whose, own & ~asked)
        else:
            entry["accuracy"] = main
        found[name] = entry
    return found


def _measured(right: BoolArray, whose: npt.NDArray[Any], rows: BoolArray) -> dict[str, Any] | None:
    """Share of these images that are right; None of no images."""
    if not rows.any():
        return None
    share = proportion_by_patient(right[rows], whose[rows])
    return {"value": share.value, "low": share.low, "high": share.high}


def _of_others(
    right: BoolArray,
    whose: npt.NDArray[Any],
    own: BoolArray,
    asked: BoolArray,
    *,
    among: int,
) -> dict[str, Any] | None:
    """`_measured`, with the difference from the images that are asked for and not its own."""
    measured = _measured(right, whose, own & asked)
    if measured is None:
        return None
    others = ~own & asked
    if not others.any():
        return measured | {"against_others": None, "below": False}

    def difference(confidence: float) -> Any:
        return apart(
            *(
                _ends(proportion_by_patient(right[rows], whose[rows], confidence=confidence))
                for rows in (own & asked, others)
            )
        )

    plain, strict = difference(0.95), difference(1 - _WRONG / among)
    return measured | {
        "against_others": {"value": plain.value, "low": plain.low, "high": plain.high},
        "below": strict.high < 0,
    }


def _ends(share: Proportion) -> tuple[float, float, float]:
    return share.value, share.low, share.high
