"""Which images train, which choose, and which are asked once at the end?

Splits that come with the images are kept. What is missing is cut by patient: nobody stands on two
sides of a cut that is made here. Shares of classes are kept as far as patients allow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xfer.data.items import SPLITS, Item, Split
from xfer.errors import DataError

SHARE = 0.2
"""Of what is cut, by images: test from all, then val from the rest."""
_DRAWS = 50  # patients with several classes can miss one by chance: draw again, then give up
_FEW = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """Positions of items, each in exactly one part."""

    train: np.ndarray
    """int64, ascending; so are the other two."""
    val: np.ndarray
    """Chooses recipes, epochs and the threshold."""
    test: np.ndarray
    """Asked once, for the winner."""
    made: tuple[str, ...]
    """What had to be cut, as sentences; empty where all parts were given."""

    def parts(self) -> dict[str, np.ndarray]:
        """The three by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def split_items(
    items: Sequence[Item],
    *,
    seed: int,
    positive: int | None = None,
    classes: Sequence[str] = (),
) -> Splits:
    """Keeps the splits that items come with, and cuts those that are missing.

    Test is 20 % of what is not in another part, val 20 % of what then remains for training. A
    patient counts as the positive class if any image does, else as the class of most of the images
    (the first of equals). Patients that are in a given part besides train are not cut.

    Args:
        items: in a fixed order; an item without a split counts as train.
        seed: the same seed and items, the same cut.
        positive: the label that must not be missed; the others then count as one class where it is
            checked that every part has all classes.
        classes: names of labels, for messages.

    Raises:
        DataError: a part would be without a class; how many patients would be needed.
    """
    if positive is None:
        names = {label: repr(name) for label, name in enumerate(classes)}
    else:
        names = {0: "the other classes", 1: "the positive class"}
        if classes:
            names[1] = repr(classes[positive])
    parts: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for position, item in enumerate(items):
        parts[item.split or "train"].append(position)
    seen = _classes(items, range(len(items)), positive)
    missing: list[Split] = [split for split in ("test", "val") if not parts[split]]
    fixed = {items[i].patient for split in ("val", "test") for i in parts[split]}
    free = [i for i in parts["train"] if items[i].patient not in fixed]
    made = []
    if missing:
        cuts = _cuts(items, free, missing, seen, seed=seed, positive=positive)
        if cuts is None:
            raise DataError(_too_few(items, free, missing, positive, names))
        for split, cut in cuts.items():
            parts[split] = cut
            parts["train"] = sorted(set(parts["train"]) - set(cut))
            patients = len({items[i].patient for i in cut})
            whose = "" if patients == len(cut) else f" of {patients:,} patients"
            made.append(
                f"The data has no {split} part: {len(cut):,} images{whose} were cut from train for"
                f" it, by patient and class, with seed {seed}."
            )
    for split, positions in parts.items():
        lacking = seen - _classes(items, positions, positive)
        if lacking:
            what = " and ".join(names.get(label, f"class {label}") for label in sorted(lacking))
            raise DataError(
                f"the {split} part has no image of {what}; every part needs every class. Add some,"
                " or put all images in one train folder and have the parts cut anew."
            )
    arrays = {split: np.array(sorted(parts[split]), dtype=np.int64) for split in SPLITS}
    return Splits(**arrays, made=tuple(made))


def _classes(items: Sequence[Item], positions: Iterable[int], positive: int | None) -> set[int]:
    """Labels there; with a positive one, 1 for it and 0 for all others."""
    labels = {items[i].label for i in positions}
    return labels if positive is None else {int(label == positive) for label in labels}


def _cuts(
    items: Sequence[Item],
    free: list[int],
    missing: Sequence[Split],
    classes: set[int],
    *,
    seed: int,
    positive: int | None,
) -> dict[Split, list[int]] | None:
    """Positions for each missing part, or None where some part would lack a class."""
    of_patient: defaultdict[str, list[int]] = defaultdict(list)
    for i in free:
        of_patient[items[i].patient].append(i)
    groups = list(of_patient.values())
    holders = Counter(label for group in groups for label in _classes(items, group, positive))
    if any(holders[label] < len(missing) + 1 for label in classes):
        return None
    labels = [_label(items, group, positive) for group in groups]
    mixed = any(len(_classes(items, group, positive)) > 1 for group in groups)
    for draw in range(_DRAWS if mixed else 1):
        rest = list(zip(groups, labels, strict=True))
        cuts: dict[Split, list[int]] = {}
        for number, split in enumerate(missing):
            rng = np.random.default_rng((seed, SPLITS.index(split), draw))
            taken = _fifth(rest, leave=len(missing) - number, positive=positive, rng=rng)
            cuts[split] = sorted(i for at in taken for i in rest[at][0])
            rest = [group for at, group in enumerate(rest) if at not in taken]
        sides = [*cuts.values(), [i for group, _ in rest for i in group]]
        if all(_classes(items, side, positive) == classes for side in sides):
            return cuts
    return None


def _fifth(
    groups: list[tuple[list[int], int]],
    *,
    leave: int,
    positive: int | None,
    rng: np.random.Generator,
) -> set[int]:
    """Which patients to take: of each class until a fifth of its images is reached.

    A patient that would overshoot by more than is lacking is passed over. Of each class at least
    one patient is taken, the smallest if need be, and `leave` remain for the parts to come. With a
    positive class, others with too few patients for that are drawn from together.
    """
    strata: defaultdict[int, list[int]] = defaultdict(list)
    for at, (_, label) in enumerate(groups):
        strata[label].append(at)
    if positive is not None:
        for label in [x for x in strata if x != positive and len(strata[x]) <= leave]:
            strata[_FEW] += strata.pop(label)
    taken: set[int] = set()
    for label in sorted(strata):
        members = [strata[label][i] for i in rng.permutation(len(strata[label]))]
        sizes = {at: len(groups[at][0]) for at in members}
        target, count, here = SHARE * sum(sizes.values()), 0, 0
        for at in members:
            if len(members) - here > leave and abs(count + sizes[at] - target) < abs(
                count - target
            ):
                taken.add(at)
                count += sizes[at]
                here += 1
        if not here and len(members) > leave:
            taken.add(min(members, key=lambda at: sizes[at]))
    return taken


def _label(items: Sequence[Item], group: list[int], positive: int | None) -> int:
    counts = Counter(items[i].label for i in group)
    if positive is not None and positive in counts:
        return positive
    return min(counts, key=lambda label: (-counts[label], label))


def _too_few(
    items: Sequence[Item],
    free: list[int],
    missing: Sequence[str],
    positive: int | None,
    names: Mapping[int, str],
) -> str:
    patients: defaultdict[int, set[str]] = defaultdict(set)
    for i in free:
        label = items[i].label if positive is None else int(items[i].label == positive)
        patients[label].add(items[i].patient)
    there = ", ".join(
        f"{names.get(label, f'class {label}')} has {len(of_class)}"
        for label, of_class in sorted(patients.items())
    )
    return (
        f"{' and '.join(missing)} cannot be cut from train by patient: each class needs at least"
        f" {len(missing) + 1} patients of its own, and {there or 'there are none'}. Add images, or"
        " give the parts as folders."
    )
