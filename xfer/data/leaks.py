"""Who would be met again? Patients and pictures that are in more than one part of the images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from xfer.data.items import Item, Split

_PAIRS: tuple[tuple[Split, Split], ...] = (("val", "test"), ("train", "test"), ("train", "val"))
"""A part and one that is asked after it. Val is first: what is left of it says who leaves train."""


class Taken(NamedTuple):
    """Positions that left one part because of another; none is in two of these."""

    out_of: Split
    because_of: Split
    patients: list[int]
    """Images of patients who are in the other part."""
    pictures: list[int]
    """Images of other patients, which show the same as images of the other part."""


def joined(groups: Iterable[Sequence[int]]) -> list[list[int]]:
    """Groups that share a member become one; groups and members ascend.

    >>> joined([[4, 3], [0], [1, 3]])
    [[0], [1, 3, 4]]
    """
    above: dict[int, int] = {}

    def root(member: int) -> int:
        while above[member] != member:
            above[member] = above[above[member]]
            member = above[member]
        return member

    for group in groups:
        for member in group:
            above.setdefault(member, member)
            above[root(group[0])] = root(member)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for member in sorted(above):
        members[root(member)].append(member)
    return list(members.values())


def pictures_of(images: int, same: Iterable[Sequence[int]]) -> list[int]:
    """For each position, the first one that shows the same picture; often itself.

    Args:
        images: how many there are.
        same: groups of positions that show the same picture, in any order; groups that share a
            position are one.
    """
    pictures = list(range(images))
    for group in joined(same):
        for position in group:
            pictures[position] = group[0]
    return pictures


def together(items: Sequence[Item], pictures: Sequence[int], among: Iterable[int]) -> list[list]:
    """Groups that no cut may tear: of one patient or one picture, and chains of both.

    Args:
        items: all of them.
        pictures: theirs, as `pictures_of` gives them.
        among: positions that are to be grouped; the others join nobody.
    """
    of_patient: defaultdict[str, list[int]] = defaultdict(list)
    of_picture: defaultdict[int, list[int]] = defaultdict(list)
    for position in among:
        of_patient[items[position].patient].append(position)
        of_picture[pictures[position]].append(position)
    return joined([*of_patient.values(), *of_picture.values()])


def met(
    items: Sequence[Item], pictures: Sequence[int], part: Iterable[int], other: Iterable[int]
) -> tuple[list[int], list[int]]:
    """Positions in one part whose patient is in the other, and those whose picture is."""
    others = list(other)
    patients = {items[i].patient for i in others}
    shown = {pictures[i] for i in others}
    here = list(part)
    return (
        [i for i in here if items[i].patient in patients],
        [i for i in here if pictures[i] in shown],
    )


def take_out(
    items: Sequence[Item], pictures: Sequence[int], parts: Mapping[Split, list[int]]
) -> tuple[dict[Split, list[int]], list[Taken]]:
    """The parts without whoever is in a part that is asked later; test stays as it is.

    Only images that are themselves of such a patient or picture leave. The other images of a
    patient who lost one to a copy stay: one blank picture that many files share would otherwise
    take all of their patients along.

    Returns:
        the parts, and what left them.
    """
    left: dict[Split, list[int]] = {split: list(parts[split]) for split in parts}
    taken: list[Taken] = []
    for out_of, because_of in _PAIRS:
        patients, shown = met(items, pictures, left[out_of], left[because_of])
        copies = sorted(set(shown) - set(patients))
        gone = {*patients, *copies}
        if gone:
            left[out_of] = [i for i in left[out_of] if i not in gone]
            taken.append(Taken(out_of, because_of, patients, copies))
    return left, taken


def taken_said(items: Sequence[Item], taken: Iterable[Taken], *, done: bool) -> tuple[str, ...]:
    """A sentence for each part and reason, of what was done or is to be done."""
    one_is, many_are = ("was", "were") if done else ("is to be", "are to be")
    said = []
    for out_of, because_of, patients, copies in taken:
        if patients:
            people = len({items[i].patient for i in patients})
            said.append(
                f"{_count(len(patients), 'image')} of {_count(people, 'patient')} "
                f"{one_is if len(patients) == 1 else many_are} taken out of {out_of}: "
                f"the {because_of} part has images of the same "
                f"{'patient' if people == 1 else 'patients'}."
            )
        if copies:
            one = len(copies) == 1
            said.append(
                f"{_count(len(copies), 'image')} {one_is if one else many_are} taken out of "
                f"{out_of}: the {because_of} part has the same {'picture' if one else 'pictures'}."
            )
    return tuple(said)


def kept_said(
    items: Sequence[Item],
    pictures: Sequence[int],
    parts: Mapping[Split, list[int]],
    *,
    compared: bool,
) -> str:
    """What somebody must know of parts that were left as they came, as one sentence.

    Args:
        items: all of them.
        pictures: theirs, as `pictures_of` gives them.
        parts: as they came.
        compared: somebody has looked for pictures that are the same.
    """
    found = []
    for part, later in _PAIRS:
        patients, copies = met(items, pictures, parts[later], parts[part])
        people = len({items[i].patient for i in patients})
        counts = [_count(people, "patient")] if people else []
        counts += [_count(len(copies), "picture")] if copies else []
        if counts:
            verb = "is" if people + len(copies) == 1 else "are"
            found.append(f"{' and '.join(counts)} of the {later} part {verb} also in {part}")
    nothing = f"no patient{' or copied picture' if compared else ''} was found in two parts"
    so_far = "" if compared else ", as far as names tell"
    return f"Splits kept as given{so_far}: {'; '.join(found) or nothing}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
