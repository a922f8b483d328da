"""What is trained on where a recipe asks for a share of the training part?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_SEED = 0
"""Of the order of patients. Not the trial's: recipes with one share train on the same images."""


def share_of(
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    patients: Sequence[str],
    share: float,
) -> npt.NDArray[np.int64]:
    """A share of the images, by patient and class; a smaller share's are among a larger one's.

    A patient counts for the class of most of its images. Of each class patients are taken in a
    fixed order of chance until the share of its images is reached, one patient at least.

    Args:
        rows: int64 (images,), positions in the other two.
        labels: int64, of all images.
        patients: likewise.
        share: in (0, 1].

    Returns:
        int64, in the order of `rows`.
    """
    if share >= 1:
        return rows
    images: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows.tolist():
        images[patients[int(row)]].append(row)
    strata: defaultdict[int, list[str]] = defaultdict(list)
    for patient, its in images.items():
        counts = Counter(labels[its].tolist())
        strata[min(counts, key=lambda label: (-counts[label], label))].append(patient)
    taken: set[int] = set()
    for label, members in sorted(strata.items()):
        order = np.random.default_rng((_SEED, label)).permutation(len(members))
        wanted = share * sum(len(images[patient]) for patient in members)
        count = 0
        for place in order.tolist():
            its = images[members[place]]
            if count and count + len(its) / 2 > wanted:
                break
            taken.update(its)
            count += len(its)
    return rows[np.isin(rows, list(taken))]
