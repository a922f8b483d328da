"""Nobody and no picture is met again in a part that is asked later, unless somebody wants that."""

import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.data.items import Item
from xfer.data.leaks import pictures_of
from xfer.data.splits import split_items
from xfer.errors import DataError

ALL = ("train", "val", "test")


def item(label, patient, split=None) -> Item:
    return Item(
        name=f"{label}/{patient}.png", label=label, split=split, patient=patient, subgroup=None
    )


def cohort(*given_splits, patients=5) -> list[Item]:
    """In each part as many patients of both classes, with one image each."""
    return [
        item(label, f"{split} {label} {number}", split)
        for split in given_splits
        for label in (0, 1)
        for number in range(patients)
    ]


@st.composite
def leaking(draw):
    """A sound cohort, then up to 30 images of ten patients anywhere, some of them the same.

    Of the sound ones nobody leaks, so every class stays in every part.
    """
    given_splits = draw(st.sampled_from([ALL, ("train", "test"), ("train", "val"), ("train",)]))
    items = cohort(*given_splits)
    sound = len(items)
    for _ in range(draw(st.integers(0, 30))):
        patient, label = draw(st.integers(0, 9)), draw(st.integers(0, 1))
        items.append(item(label, f"p{patient}", draw(st.sampled_from(given_splits))))
    places = st.integers(sound, len(items) - 1)
    groups = st.lists(places, min_size=1, max_size=4)
    same = draw(st.lists(groups, max_size=5)) if len(items) > sound else []
    if given_splits == ("train",) and draw(st.booleans()):
        items = [item(it.label, it.patient) for it in items]
    return items, same, draw(st.sampled_from([None, 0, 1]))


def alike(same, count):
    """For each position all that show its picture, itself included: groups, until none grows."""
    seen = [{i} for i in range(count)]
    grows = True
    while grows:
        grows = False
        for group in same:
            union = set().union(*(seen[i] for i in group))
            for i in union:
                grows |= seen[i] != union
                seen[i] = union
    return seen


def crossing(items, same, parts):
    """Pairs of parts with a patient or a picture in common."""
    seen = alike(same, len(items))
    found = []
    for one, other in combinations(parts, 2):
        people = {items[i].patient for i in parts[one]} & {items[i].patient for i in parts[other]}
        pictures = set().union(*(seen[i] for i in parts[one]), set()) & set(parts[other].tolist())
        if people or pictures:
            found.append((one, other))
    return found


def given_parts(items):
    return {s: {i for i, it in enumerate(items) if (it.split or "train") == s} for s in ALL}


@given(drawn=leaking(), seed=st.integers(0, 9), shuffle=st.randoms(use_true_random=False))
def test_no_patient_and_no_picture_crosses_and_a_given_test_part_never_changes(
    drawn, seed, shuffle
):
    items, same, positive = drawn
    splits = split_items(items, seed=seed, positive=positive, same=same)
    parts, before = splits.parts(), given_parts(items)
    assert crossing(items, same, parts) == []
    if before["test"]:
        assert set(parts["test"].tolist()) == before["test"]
    if before["val"]:
        assert set(parts["val"].tolist()) <= before["val"]
    kept = Counter(i for part in parts.values() for i in part.tolist())
    assert set(kept.values()) == {1}
    # Who left had to: the patient or the picture is in a part that is asked later.
    seen = alike(same, len(items))
    out = set(range(len(items))) - set(kept)
    for i in out:
        later = ALL[ALL.index(items[i].split) + 1 :]
        there = {j for part in later for j in before[part]}
        assert items[i].patient in {items[j].patient for j in there} or seen[i] & there
    told = [int(number) for said in splits.removed for number in re.findall(r"^\d+", said)]
    assert sum(told) == len(out)
    assert splits.marks == ()
    # The order of the groups says nothing, and neither does the order in them.
    mixed = [shuffle.sample(group, len(group)) for group in same]
    shuffle.shuffle(mixed)
    again = split_items(items, seed=seed, positive=positive, same=mixed)
    assert all((again.parts()[split] == parts[split]).all() for split in ALL)
    assert (again.made, again.removed) == (splits.made, splits.removed)


@given(drawn=leaking(), seed=st.integers(0, 9))
def test_split_anew_is_split_as_if_no_part_had_been_given(drawn, seed):
    items, same, positive = drawn
    anew = split_items(items, seed=seed, positive=positive, same=same, given="resplit")
    plain = [item(it.label, it.patient) for it in items]
    expected = split_items(plain, seed=seed, positive=positive, same=same)
    for split, part in anew.parts().items():
        assert part.tolist() == expected.parts()[split].tolist()
        assert {items[i].label for i in part} == {0, 1}
    assert sum(map(len, anew.parts().values())) == len(items)
    assert crossing(items, same, anew.parts()) == []
    assert (anew.removed, anew.marks) == ((), ())
    given_more = any(it.split in ("val", "test") for it in items)
    assert ("put together" in anew.made[0]) == given_more


@given(drawn=leaking(), seed=st.integers(0, 9))
def test_kept_splits_are_what_was_given_and_what_is_cut_adds_no_leak(drawn, seed):
    items, same, positive = drawn
    kept = split_items(items, seed=seed, positive=positive, same=same, given="keep")
    parts, before = kept.parts(), given_parts(items)
    for split in ("val", "test"):
        if before[split]:
            assert set(parts[split].tolist()) == before[split]
    assert sum(map(len, parts.values())) == len(items)
    assert kept.removed == ()
    [mark] = kept.marks
    leaks = crossing(items, same, parts)
    given_too = [pair for pair in leaks if all(before[split] for split in pair)]
    assert leaks == given_too
    for one, other in combinations(ALL, 2):
        assert (f"of the {other} part" in mark and f"also in {one}" in mark) or (
            (one, other) not in leaks
        )
    assert ("no patient or copied picture was found" in mark) == (not leaks)


@given(
    copies=st.lists(st.lists(st.integers(0, 99), min_size=2, max_size=3), max_size=15),
    seed=st.integers(0, 99),
)
def test_shares_stay_close_to_a_fifth_where_pictures_are_doubled(copies, seed):
    items = [item(i % 2, f"p{i}") for i in range(100)]
    same = [group for group in copies if len({i % 2 for i in group}) == 1]
    splits = split_items(items, seed=seed, positive=1, same=same)
    largest = max(Counter(pictures_of(100, same)).values())
    for label in (0, 1):
        for part, target in ((splits.test, 10), (splits.val, 8)):
            count = sum(items[i].label == label for i in part)
            assert abs(count - target) <= 1 + largest / 2


@given(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=4), max_size=8))
def test_pictures_are_named_by_the_first_that_shows_them(same):
    assert pictures_of(12, same) == [min(group) for group in alike(same, 12)]


# --------------------------------------------------------------------------------------------------
# What is told


def test_what_is_taken_out_is_told_by_part_and_reason():
    items = cohort(*ALL)
    first = {split: next(i for i, it in enumerate(items) if it.split == split) for split in ALL}
    items += [item(0, items[first["test"]].patient, "train")] * 2  # a patient of test
    items += [item(0, items[first["test"]].patient, "val")]
    items += [item(1, "alone", "train"), item(1, "also alone", "train")]
    copies = [[first["val"], len(items) - 1], [first["test"], len(items) - 2]]
    splits = split_items(items, seed=0, same=copies)
    assert splits.removed == (
        "1 image of 1 patient was taken out of val: the test part has images of the same patient.",
        "2 images of 1 patient were taken out of train: the test part has images of the same"
        " patient.",
        "1 image was taken out of train: the test part has the same picture.",
        "1 image was taken out of train: the val part has the same picture.",
    )
    assert splits.made == ()


def test_kept_leaks_are_counted_in_one_mark():
    items = cohort(*ALL)
    positions = {split: [i for i, it in enumerate(items) if it.split == split] for split in ALL}
    for i in positions["test"][:2]:
        items += [item(0, items[i].patient, "train")]
    same = [[positions["test"][k], positions["train"][k]] for k in range(3)]
    same += [[positions["val"][0], positions["train"][3]]]
    splits = split_items(items, seed=0, same=same, given="keep")
    assert splits.marks == (
        "Splits kept as given: 2 patients and 3 pictures of the test part are also in train;"
        " 1 picture of the val part is also in train.",
    )


def test_of_pictures_that_nobody_compared_nothing_is_said():
    [mark] = split_items(cohort(*ALL), seed=0, given="keep").marks
    assert mark == "Splits kept as given, as far as names tell: no patient was found in two parts."


def test_other_images_of_a_patient_who_lost_a_copy_stay():
    items = [*cohort(*ALL), item(0, "p", "train"), item(0, "p", "train")]
    blank = [len(items) - 1, next(i for i, it in enumerate(items) if it.split == "test")]
    splits = split_items(items, seed=0, same=[blank])
    assert len(items) - 2 in splits.train
    assert len(items) - 1 not in splits.train


def test_who_is_only_in_what_has_left_val_stays_in_train():
    items = [*cohort(*ALL), item(0, "test 0 0", "val"), item(0, "own", "train")]
    splits = split_items(items, seed=0, same=[[len(items) - 2, len(items) - 1]])
    assert len(items) - 2 not in splits.val
    assert len(items) - 1 in splits.train


def test_a_part_that_loses_a_class_is_told_with_the_ways_out():
    items = cohort("train", "test", patients=6)
    items += [item(label, f"test {label} {n}", "val") for label in (0, 1) for n in range(label, 2)]
    items += [item(0, "own", "val")]
    message = (
        r"the val part has no image of 'ill' any more; .* 3 images of 3 patients are to be taken"
        r" out of val: .* --resplit, or keep .* with --keep-splits"
    )
    with pytest.raises(DataError, match=message):
        split_items(items, seed=0, classes=("well", "ill"))
    for way in ("resplit", "keep"):
        parts = split_items(items, seed=0, classes=("well", "ill"), given=way).parts()
        assert all({items[i].label for i in part} == {0, 1} for part in parts.values())


def test_a_part_that_never_had_a_class_is_not_said_to_have_lost_it():
    items = [it for it in cohort(*ALL) if (it.split, it.label) != ("val", 1)]
    with pytest.raises(DataError, match=r"'ill'; every part .* Add some, or .* --resplit\."):
        split_items(items, seed=0, classes=("well", "ill"))


def test_too_few_patients_left_to_cut_is_told_with_what_left():
    items = cohort("train", "test", patients=3)
    items += [item(0, f"test 0 {number}", "train") for number in range(3)]
    items = [it for it in items if not it.patient.startswith("train 0")] + [item(0, "p", "train")]
    message = r"class 0 has 1, .*--resplit\. 3 images of 3 patients are to be taken out of train"
    with pytest.raises(DataError, match=message):
        split_items(items, seed=0)


def test_what_looks_for_leaks_here_sees_one_that_is_kept():
    items = cohort(*ALL)
    kept = split_items(items, seed=0, same=[[0, 29]], given="keep").parts()
    assert crossing(items, [[0, 29]], kept) == [("train", "test")]
