"""Nobody stands on two sides of a cut, and what was given stays as it was."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from xfer.data.items import Item
from xfer.data.splits import split_items
from xfer.errors import DataError


def item(number, label, *, patient=None, split=None) -> Item:
    return Item(
        name=f"{label}/{number}.png",
        label=label,
        split=split,
        patient=patient or f"own {number}",
        subgroup=None,
    )


def plain(*counts, split=None, start=0) -> list[Item]:
    """So many images of each class, each its own patient."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return [item(start + i, label, split=split) for i, label in enumerate(labels)]


def shares(items, positions) -> Counter:
    return Counter(items[i].label for i in positions)


def test_without_splits_a_fifth_is_test_and_a_fifth_of_the_rest_is_val():
    items = plain(100, 50)
    splits = split_items(items, seed=0)
    assert shares(items, splits.test) == {0: 20, 1: 10}
    assert shares(items, splits.val) == {0: 16, 1: 8}
    assert shares(items, splits.train) == {0: 64, 1: 32}
    assert [text.split(":")[0] for text in splits.made] == [
        "The data has no test part",
        "The data has no val part",
    ]
    assert (
        "30 images are to be cut from train for it, by patient and class, with seed 0"
        in (splits.made[0])
    )


@pytest.mark.parametrize(
    ("given_splits", "cut"),
    [
        (("train", "val", "test"), ()),
        (("train", "test"), ("val",)),
        (("train", "val"), ("test",)),
        (("train",), ("test", "val")),
    ],
)
def test_given_parts_are_kept_and_missing_ones_cut_from_train(given_splits, cut):
    items = []
    for split in given_splits:
        items += plain(20, 20, split=split, start=len(items))
    splits = split_items(items, seed=3)
    for split in given_splits[1:]:
        expected = [i for i, it in enumerate(items) if it.split == split]
        np.testing.assert_array_equal(splits.parts()[split], expected)
    for split in cut:
        assert len(splits.parts()[split])
        assert all(items[i].split == "train" for i in splits.parts()[split])
    assert len(splits.made) == len(cut)


def test_a_patient_of_a_given_part_is_not_cut_from_train():
    items = plain(30, 30, split="train")
    shared = {f"own {i}" for i in range(0, 60, 2)}
    items += [item(100 + i, i % 2, patient=name, split="val") for i, name in enumerate(shared)]
    splits = split_items(items, seed=0)
    assert not {items[i].patient for i in splits.test} & shared


def test_the_seed_decides_the_cut():
    items = plain(60, 40)
    first, again, other = (split_items(items, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.test, again.test)
    np.testing.assert_array_equal(first.val, again.val)
    assert first.test.tolist() != other.test.tolist()


def test_a_patient_with_any_positive_image_counts_as_positive():
    # nine images of class 0 and one of class 1 each: by majority no stratum of class 1 would exist
    items = [item(10 * p + k, int(k == 9), patient=f"p{p}") for p in range(10) for k in range(10)]
    items += plain(100, 0, start=1_000)
    splits = split_items(items, seed=0, positive=1)
    ill = {items[i].patient for i in splits.test} & {f"p{p}" for p in range(10)}
    assert len(ill) == 2


@pytest.mark.parametrize("needed", [3, 2])
def test_too_few_patients_are_told_with_how_many_are_needed(needed):
    extra = [] if needed == 3 else plain(5, 5, split="test", start=100)
    enough = plain(20, needed, split="train" if extra else None) + extra
    splits = split_items(enough, seed=0, positive=1)
    assert all(shares(enough, part)[1] >= 1 for part in splits.parts().values())
    few = plain(20, needed - 1, split="train" if extra else None) + extra
    message = rf"needs at least {needed} patients of its own.*'ill' has {needed - 1}\."
    with pytest.raises(DataError, match=message):
        split_items(few, seed=0, positive=1, classes=("well", "ill"))


def test_a_given_part_without_a_class_is_named():
    items = plain(20, 20, split="train") + plain(5, 0, split="test", start=100)
    with pytest.raises(DataError, match="the test part has no image of 'ill'"):
        split_items(items, seed=0, classes=("well", "ill"))


def test_rare_negative_classes_do_not_stop_a_binary_cut():
    items = plain(10, *[1] * 9)  # class 0 positive, nine others with one image each
    splits = split_items(items, seed=0, positive=0)
    for part in splits.parts().values():
        assert {items[i].label == 0 for i in part} == {True, False}


@st.composite
def cohorts(draw):
    """Patients with one to five images; most of one class, some of several."""
    classes = draw(st.integers(2, 4))
    items = []
    for patient in range(draw(st.integers(1, 40))):
        label = draw(st.integers(0, classes - 1))
        mixed = draw(st.integers(0, 9)) == 0
        for _ in range(draw(st.integers(1, 5))):
            own = draw(st.integers(0, classes - 1)) if mixed else label
            items.append(item(len(items), own, patient=f"p{patient}"))
    return items


@given(items=cohorts(), seed=st.integers(0, 2**32), positive=st.sampled_from([None, 0, 1]))
def test_cuts_keep_patients_together_and_every_class_everywhere(items, seed, positive):
    labels = {it.label for it in items}
    assume(positive is None or positive in labels)
    assume(len(labels) > 1)

    def kind(i):
        return items[i].label if positive is None else items[i].label == positive

    patients = defaultdict(set)
    for i, it in enumerate(items):
        patients[kind(i)].add(it.patient)
    pure = all(len({kind(i) for i, o in enumerate(items) if o.patient == it.patient}) == 1
               for it in items)  # fmt: skip
    enough = all(len(of_class) >= 3 for of_class in patients.values())
    try:
        splits = split_items(items, seed=seed, positive=positive)
    except DataError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert "needs at least 3 patients" in refusal
        assert not (pure and enough)
        return
    assert enough
    parts = splits.parts()
    together = np.concatenate(list(parts.values()))
    assert sorted(together.tolist()) == list(range(len(items)))
    sides = [{items[i].patient for i in part} for part in parts.values()]
    assert len(set().union(*sides)) == sum(map(len, sides))
    for part in parts.values():
        assert {kind(i) for i in part} == set(patients)
        assert part.dtype == np.int64
    again = split_items(items, seed=seed, positive=positive).parts()
    assert all((parts[split] == again[split]).all() for split in parts)


@given(sizes=st.lists(st.integers(1, 4), min_size=60, max_size=200), seed=st.integers(0, 99))
def test_shares_are_close_to_a_fifth_whatever_the_patients_sizes(sizes, seed):
    items = []
    for patient, size in enumerate(sizes):
        items += [item(len(items) + k, patient % 2, patient=f"p{patient}") for k in range(size)]
    splits = split_items(items, seed=seed, positive=1)
    for label in (0, 1):
        total = sum(it.label == label for it in items)
        assert abs(shares(items, splits.test)[label] - 0.2 * total) <= 2
        assert abs(shares(items, splits.val)[label] - 0.16 * total) <= 2.4


# --------------------------------------------------------------------------------------------------
# A val part that is too small to choose by


def given_parts(train, val, test=(5, 5)) -> list[Item]:
    items = []
    for split, counts in (("train", train), ("val", val), ("test", test)):
        items += plain(*counts, split=split, start=len(items))
    return items


def test_a_val_part_with_too_few_positives_is_cut_anew_from_train_and_val():
    items = given_parts((400, 400), (8, 8))
    splits = split_items(items, seed=0, positive=1, classes=("well", "ill"), least=59)
    assert shares(items, splits.val) == {0: 82, 1: 82}
    assert shares(items, splits.train) == {0: 326, 1: 326}
    assert [i for i in range(len(items)) if items[i].split == "test"] == splits.test.tolist()
    assert splits.made == (
        "The val part has 8 of 'ill', and 59 are needed to choose by: 164 images are to be cut "
        "anew from train and val for it, by patient and class, with seed 0.",
    )


def test_what_is_planned_and_what_was_done_are_told_apart():
    """A listing knows no copies and no files that cannot be read: its numbers are a plan's."""
    items = plain(100, 50)
    planned = split_items(items, seed=0).made
    done = split_items(items, seed=0, same=[[0, 1]]).made
    assert all(" are to be cut " in said and " were " not in said for said in planned)
    assert all(" were cut " in said and " are to be " not in said for said in done)
    leaking = [*items[:-2], *(replace(items[0], split="test", patient="p") for _ in range(9)),
               *(replace(items[-1], split="test", patient=f"t{n}") for n in range(9)),
               replace(items[0], patient="p", split="train")]  # fmt: skip
    planned, done = (split_items(leaking, seed=0, same=same).removed for same in (None, []))
    assert "1 image of 1 patient is to be taken out of train" in planned[0]
    assert "1 image of 1 patient was taken out of train" in done[0]


@pytest.mark.parametrize(
    ("train", "val", "least", "how"),
    [
        ((400, 400), (60, 60), 59, "clean"),  # enough
        ((200, 200), (50, 50), 59, "clean"),  # a fifth of all would not be more
        ((400, 400), (8, 8), 0, "clean"),  # any will do
        ((400, 400), (8, 8), 59, "keep"),  # asked to leave them
        ((400, 400), (30, 60), 59, "clean"),  # of the others 30 are enough
    ],
)
def test_a_val_part_stays_where_nothing_is_won_by_another(train, val, least, how):
    items = given_parts(train, val)
    splits = split_items(items, seed=0, positive=1, least=least, given=how)
    assert [items[i].split for i in splits.val] == ["val"] * sum(val)
    assert splits.made == ()


def test_without_a_positive_class_each_needs_so_many():
    items = given_parts((100, 100, 100), (12, 12, 3), (5, 5, 5))
    splits = split_items(items, seed=0, classes=("a", "b", "c"), least=10)
    assert shares(items, splits.val) == {0: 22, 1: 22, 2: 21}
    assert splits.made[0].startswith("The val part has 3 of 'c', and 10 are needed to choose by")


def test_a_val_part_cut_anew_holds_nobody_of_test_and_nobody_of_train():
    items = given_parts((300, 300), (4, 4), (20, 20))
    of_test = [i for i, it in enumerate(items) if it.split == "test"]
    known = {0: items[of_test[0]].patient, 601: items[of_test[1]].patient}
    items = [
        item(i, it.label, patient=known.get(i, f"p{i // 2}"), split=it.split)
        if it.split != "test"
        else it
        for i, it in enumerate(items)
    ]
    splits = split_items(items, seed=0, positive=1, least=59)
    sides = [{items[i].patient for i in part} for part in splits.parts().values()]
    assert len(set().union(*sides)) == sum(map(len, sides))
    taken = set(range(len(items))) - {i for part in splits.parts().values() for i in part.tolist()}
    assert taken == {0, 601}
