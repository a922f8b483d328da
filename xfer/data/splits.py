"""Which images train, which choose, and which are asked once at the end?

Parts that come with the images are kept, but for patients and pictures that a later part has too:
those are taken out of train and val, and test never changes. What is missing is cut by patient:
nobody and no picture stands on two sides of a cut that is made here. Shares of classes are kept as
far as patients allow. A val part too small to choose by is cut anew from train and val.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xfer.data.items import SPLITS, Item, Split
from xfer.data.leaks import kept_said, met, pictures_of, take_out, taken_said, together
from xfer.errors import DataError

Given = Literal["clean", "keep", "resplit"]
"""What becomes of parts that come with the images: cleaned of whoever is in a later part too; kept
as they are; or put together and split anew."""
SHARE = 0.2
"""Of what is cut, by images: val from what is not test; test too, where nothing else is asked."""
OTHERS = 30
"""Images besides the positive class that val needs, where it needs as many positive ones."""
_DRAWS = 50  # patients with several classes can miss one by chance: draw again, then give up
_FEW = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """Positions of items, each in one part, or in none where it was taken out."""

    train: np.ndarray
    """int64, ascending; so are the other two."""
    val: np.ndarray
    """Chooses recipes, epochs and the threshold."""
    test: np.ndarray
    """Asked once, for the winner."""
    made: tuple[str, ...]
    """What had to be cut, as sentences; empty where all parts were given."""
    removed: tuple[str, ...] = ()
    """What was taken out of which part, and why, as sentences."""
    marks: tuple[str, ...] = ()
    """What has to stand beside every result, as sentences: parts were kept with their leaks."""

    def parts(self) -> dict[str, np.ndarray]:
        """The three by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def split_items(
    items: Sequence[Item],
    *,
    seed: int,
    positive: int | None = None,
    classes: Sequence[str] = (),
    same: Sequence[Sequence[int]] | None = None,
    given: Given = "clean",
    least: int = 0,
    test_share: float = SHARE,
) -> Splits:
    """Cleans or keeps the splits that items come with, and cuts those that are missing.

    Clean: images whose patient or picture is in the given test part leave val and train, and those
    whose patient or picture is in the given val part leave train.

    Test is a share of what is not in another part, val 20 % of what then remains for training.
    Images of one patient or one picture are cut as one; they count as the positive class if any
    image does, else as the class of most of the images (the first of equals). Whoever is in a given
    part besides train is not cut.

    Args:
        items: in a fixed order; an item without a split counts as train.
        seed: the same seed and items, the same cut.
        positive: the label that must not be missed; the others then count as one class where it is
            checked that every part has all classes.
        classes: names of labels, for messages.
        same: groups of positions of items that show the same picture; their order says nothing.
            None: nobody has looked. Sentences then say what is to be done, not what was: once
            images are read, copies and files that cannot be used change the numbers.
        given: what becomes of the splits that items come with.
        least: images of the positive class that val needs (of the others at most OTHERS), or of
            each class where none is positive; 0: any will do. Where a given val part has fewer, and
            a fifth of train and val together has more, val is cut anew from both. Not with `keep`.
        test_share: of a test part that is cut, by images, in (0, 1).

    Raises:
        DataError: a part would be without a class; how many patients would be needed, or which of
            the other ways to split is open.
    """
    if positive is None:
        names = {label: repr(name) for label, name in enumerate(classes)}
    else:
        names = {0: "the other classes", 1: "the positive class"}
        if classes:
            names[1] = repr(classes[positive])
    pictures = pictures_of(len(items), same or ())
    anew = given == "resplit" and any(item.split in ("val", "test") for item in items)
    parts: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for position, item in enumerate(items):
        parts[item.split if item.split and not anew else "train"].append(position)
    seen = _classes(items, range(len(items)), positive)
    small = None if given == "keep" or anew else _too_small(items, parts, positive, least, names)
    if small is not None:
        parts["train"], parts["val"] = sorted(parts["train"] + parts["val"]), []
    missing: list[Split] = [split for split in ("test", "val") if not parts[split]]
    made, removed, marks, whole = [], (), (), parts
    done = "are to be" if same is None else "were"
    if given == "clean":
        parts, taken = take_out(items, pictures, parts)
        removed = taken_said(items, taken, done=same is not None)
    if given == "keep":
        marks = (kept_said(items, pictures, parts, compared=same is not None),)
    if anew:
        made.append("The parts that the data has are put together, and all is split anew.")
    if missing:
        held = [*parts["val"], *parts["test"]]
        fixed = {i for met_again in met(items, pictures, parts["train"], held) for i in met_again}
        groups = together(items, pictures, parts["train"])
        groups = [group for group in groups if fixed.isdisjoint(group)]
        wanted: dict[Split, float] = {
            split: test_share if split == "test" else SHARE for split in missing
        }
        cuts = _cuts(items, groups, wanted, seen, seed=seed, positive=positive)
        if cuts is None:
            ways = ", or have all parts cut anew with --resplit" if len(missing) < 2 else ""
            told = _too_few(items, groups, missing, positive, names) + ways
            raise DataError(" ".join([f"{told}.", *removed]))
        for split, cut in cuts.items():
            parts[split] = cut
            parts["train"] = sorted(set(parts["train"]) - set(cut))
            patients = len({items[i].patient for i in cut})
            whose = "" if patients == len(cut) else f" of {patients:,} patients"
            why, end = f"The data has no {split} part", "from train for it"
            if split == "val" and small is not None:
                why, end = small, "anew from train and val for it"
            if anew:
                why, end = "Anew", f"for {split}"
            made.append(
                f"{why}: {len(cut):,} images{whose} {done} cut {end}, by patient and class, with"
                f" seed {seed}."
            )
    for split, positions in parts.items():
        lacking = seen - _classes(items, positions, positive)
        if not lacking:
            continue
        lost = lacking & _classes(items, whole[split], positive)
        labels = sorted(lost or lacking)
        what = " and ".join(names.get(label, f"class {label}") for label in labels)
        told = f"the {split} part has no image of {what}"
        if lost:
            raise DataError(
                f"{told} any more; every part needs every class. {' '.join(removed)} Have all parts"
                " cut anew with --resplit, or keep them as they are, leaks included, with"
                " --keep-splits: every output is then marked."
            )
        raise DataError(
            f"{told}; every part needs every class. Add some, or have all parts cut anew with"
            " --resplit."
        )
    arrays = {split: np.array(sorted(parts[split]), dtype=np.int64) for split in SPLITS}
    return Splits(**arrays, made=tuple(made), removed=removed, marks=marks)


def _too_small(
    items: Sequence[Item],
    parts: Mapping[Split, list[int]],
    positive: int | None,
    least: int,
    names: Mapping[int, str],
) -> str | None:
    """Why a given val part should be cut anew, as half a sentence; None where it should not."""
    if not parts["val"] or not parts["train"]:
        return None
    of = {
        part: Counter(
            items[i].label if positive is None else int(items[i].label == positive)
            for i in parts[part]
        )
        for part in ("train", "val")
    }
    for label in sorted(of["train"] | of["val"], reverse=True):
        needed = least if positive is None or label == 1 else min(least, OTHERS)
        have = of["val"][label]
        if have < needed and SHARE * (of["train"][label] + have) > have:
            name = names.get(label, f"class {label}")
            return f"The val part has {have:,} of {name}, and {needed:,} are needed to choose by"
    return None


def _classes(items: Sequence[Item], positions: Iterable[int], positive: int | None) -> set[int]:
    """Labels there; with a positive one, 1 for it and 0 for all others."""
    labels = {items[i].label for i in positions}
    return labels if positive is None else {int(label == positive) for label in labels}


def _cuts(
    items: Sequence[Item],
    groups: list[list[int]],
    missing: Mapping[Split, float],
    classes: set[int],
    *,
    seed: int,
    positive: int | None,
) -> dict[Split, list[int]] | None:
    """Positions for each missing part, of its share, or None where some part would lack a class."""
    holders = Counter(label for group in groups for label in _classes(items, group, positive))
    if any(holders[label] < len(missing) + 1 for label in classes):
        return None
    labels = [_label(items, group, positive) for group in groups]
    mixed = any(len(_classes(items, group, positive)) > 1 for group in groups)
    for draw in range(_DRAWS if mixed else 1):
        rest = list(zip(groups, labels, strict=True))
        cuts: dict[Split, list[int]] = {}
        for number, (split, share) in enumerate(missing.items()):
            rng = np.random.default_rng((seed, SPLITS.index(split), draw))
            taken = _taken(
                rest, share=share, leave=len(missing) - number, positive=positive, rng=rng
            )
            cuts[split] = sorted(i for at in taken for i in rest[at][0])
            rest = [group for at, group in enumerate(rest) if at not in taken]
        sides = [*cuts.values(), [i for group, _ in rest for i in group]]
        if all(_classes(items, side, positive) == classes for side in sides):
            return cuts
    return None


def _taken(
    groups: list[tuple[list[int], int]],
    *,
    share: float,
    leave: int,
    positive: int | None,
    rng: np.random.Generator,
) -> set[int]:
    """Which patients to take: of each class until a share of its images is reached.

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
        target, count, here = share * sum(sizes.values()), 0, 0
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
    groups: list[list[int]],
    missing: Sequence[str],
    positive: int | None,
    names: Mapping[int, str],
) -> str:
    holders = Counter(label for group in groups for label in _classes(items, group, positive))
    there = ", ".join(
        f"{names.get(label, f'class {label}')} has {count}"
        for label, count in sorted(holders.items())
    )
    return (
        f"{' and '.join(missing)} cannot be cut from train by patient: each class needs at least"
        f" {len(missing) + 1} patients of its own, and {there or 'there are none'}. Add images, or"
        " give the parts as folders"
    )
