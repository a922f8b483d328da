"""What do pictures and patients that are in several parts do to the numbers?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from xfer.data.builtin import PREFIX
from xfer.data.dataset import Dataset, Loading
from xfer.data.findings import Finding


def find_copies(dataset: Dataset, loading: Loading) -> list[Finding]:
    """`duplicate`, `near_duplicate`, and `label_conflict` where labels of one picture differ.

    What was taken out of a part is told too, with what was done.
    """
    findings: list[Finding] = []
    copies, part = loading.copies, _parts(dataset)
    equal = {group[0]: group for group in copies.exact}
    exact = [[(i,) for i in group] for group in copies.exact]
    near = [[equal.get(i, (i,)) for i in group] for group in copies.near]
    for kind, groups, alike in (
        ("duplicate", exact, "pixel for pixel"),
        ("near_duplicate", near, "but for encoding, size, brightness or contrast"),
    ):
        if groups:
            extra = sum(len(group) - 1 for group in groups)
            effect = f"{extra:,} {_images(extra, 'repeats', 'repeat')} another one {alike}."
            members = [i for group in groups for alike_ones in group for i in alike_ones]
            findings.append(
                Finding(
                    kind=kind,
                    count=extra,
                    examples=tuple(_together(dataset, [x[0] for x in group]) for group in groups),
                    effect=effect + _reach(dataset, loading, groups),
                    action=_left_out(loading, [i for i in members if i not in part])
                    or "Remove the copies, those in train first.",
                )
            )
    torn = [group for group in copies.same if len({int(dataset.labels[i]) for i in group}) > 1]
    if torn:
        findings.append(
            Finding(
                kind="label_conflict",
                count=len(torn),
                examples=tuple(_together(dataset, group, classes=True) for group in torn),
                effect="The same picture has several labels: at most one of them is right.",
                action="Look at these images and keep one label.",
            )
        )
    return findings


_Group = Sequence[Sequence[int]]
"""Images of one picture; those that the finding takes for one stand together."""


def _reach(dataset: Dataset, loading: Loading, groups: Sequence[_Group]) -> str:
    """How many of val and test can, or could, be answered from memory, as sentences."""
    now, origin = _parts(dataset), dict(enumerate(loading.origins))
    were = Counter(loading.origins)
    said = ""
    for split in ("val", "test"):
        count = _met(groups, origin, split)
        if not count:
            continue
        if left := _met(groups, now, split):
            of = len(dataset.splits[split])
            said += (
                f" {left:,} of {of:,} in {split} {'has' if left == 1 else 'have'} a copy in train"
                f" and can be answered from memory: accuracy there may be up to"
                f" {100 * left / of:.1f} points too high."
            )
        else:
            said += (
                f" {count:,} of {were[split]:,} in {split} had a copy in train and could have been"
                " answered from memory."
            )
    return said or " None of them is in train and in val or test."


def _met(groups: Sequence[_Group], part: Mapping[int, str], split: str) -> int:
    """Images of a part that have a copy in train."""
    count = 0
    for group in groups:
        trained = [any(part.get(i) == "train" for i in one) for one in group]
        others = sum(trained)
        for one, own in zip(group, trained, strict=True):
            if others > own:
                count += sum(part.get(i) == split for i in one)
    return count


def _left_out(loading: Loading, gone: Sequence[int]) -> str:
    """Where images were that are in no part now, as a sentence; empty where there are none."""
    origins = Counter(loading.origins[i] for i in gone)
    where = " and ".join(f"{count:,} of {part}" for part, count in sorted(origins.items()))
    return f"Those that stand in a later part too were left out: {where}." if gone else ""


def _images(count: int, one: str, many: str) -> str:
    return f"image {one}" if count == 1 else f"images {many}"


def find_leaks(dataset: Dataset, loading: Loading) -> list[Finding]:
    """`patient_leak`: patients that are, or were, in several parts."""
    parts_of: defaultdict[str, set[str]] = defaultdict(set)
    for patient, origin in zip(dataset.patients, loading.origins, strict=True):
        parts_of[patient].add(origin)
    leaks = {p: parts for p, parts in parts_of.items() if len(parts) > 1}
    if not leaks:
        return []
    now = _parts(dataset)
    gone = [i for i, p in enumerate(dataset.patients) if p in leaks and i not in now]
    can, look = ("could", "would have looked") if gone else ("can", "look")
    return [
        Finding(
            kind="patient_leak",
            count=len(leaks),
            examples=tuple(f"{p}: {', '.join(sorted(parts))}" for p, parts in leaks.items()),
            effect=f"These patients are in several of the given parts: a model {can} know them by"
            f" sight, and scores {look} better than they are.",
            action=_left_out(loading, gone) or "Put each patient's images in one part.",
        )
    ]


def find_changed(dataset: Dataset, loading: Loading) -> tuple[list[Finding], str]:
    """`copies_suspected`, and in a sentence what was looked for; copies known otherwise are not.

    Images of one patient may look alike: where patients stand in several parts it is `patient_leak`
    that tells of them.
    """
    from xfer.data.copies import find_changed_copies  # imports torch, which takes seconds

    if loading.source.startswith(PREFIX):  # each is drawn from other numbers, but by one hand
        return [], "Turned, zoomed or shifted copies were not looked for: the images are drawn."
    of_patient: defaultdict[str, list[int]] = defaultdict(list)
    for i, patient in enumerate(dataset.patients):
        of_patient[patient].append(i)
    known = [*loading.copies.same, *(group for group in of_patient.values() if len(group) > 1)]
    copies = find_changed_copies(dataset.pixels, dataset.splits, known=known)
    if copies.not_searched is not None:
        return [], f"Turned, zoomed or shifted copies were not looked for: {copies.not_searched}."
    said = (
        f"copies of training images found for {len(copies.found):,} of {copies.searched:,} sampled "
        "images of val and test"
    )
    among = f"{copies.among:,} training images were compared"
    if not copies.found:
        return [], f"Turned, zoomed or shifted {said}; {among}."
    names = dataset.names
    return [
        Finding(
            kind="copies_suspected",
            count=len(copies.found),
            examples=tuple(
                f"{names[i]} = {names[j]} ({agreed:.2f})"
                for (i, j), agreed in zip(copies.found, copies.correlations, strict=True)
            ),
            effect=f"Turned, zoomed, shifted or mirrored {said}, or the same subject was "
            f"photographed again ({among}). A model can know them by sight, and scores look better "
            "than they are.",
            action="Split the originals by patient first, and leave changed copies to training: "
            "Augment makes them, of training images alone.",
        )
    ], f"Turned, zoomed or shifted {said}; {among}."


def _parts(dataset: Dataset) -> dict[int, str]:
    """By position; what was taken out of every part has none."""
    return {int(i): split for split, positions in dataset.splits.items() for i in positions}


def _together(dataset: Dataset, group: Sequence[int], *, classes: bool = False) -> str:
    """Names of one picture's images, with what each is labelled."""
    return " = ".join(
        dataset.names[i] + (f" ({dataset.classes[dataset.labels[i]]})" if classes else "")
        for i in group
    )
