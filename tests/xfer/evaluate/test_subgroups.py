"""Subgroups and differences of different patients, against counts and a published example."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.errors import DataError
from xfer.evaluate.independent import MAIN, apart, gaps
from xfer.evaluate.intervals import wilson
from xfer.evaluate.subgroups import NONE, measure_subgroups


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17, 1998, table II, method 10, examples a to h
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_difference_of_shares_is_the_published_one(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    found = apart(*((hits / of, *wilson(hits, of)) for hits, of in (first, second)))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_the_other_way_round_is_the_same_with_the_sign_turned() -> None:
    one, two = (0.9, 0.8, 0.95), (0.7, 0.6, 0.85)
    there, back = apart(one, two), apart(two, one)
    assert (there.value, there.low, there.high) == (-back.value, -back.high, -back.low)


def test_a_gap_is_told_of_main_metrics_that_both_parts_have() -> None:
    metric = {"value": 0.9, "low": 0.8, "high": 0.95}
    val = {"recall": metric, "auroc": metric | {"low": math.nan}, "loss": 0.3, "mcc": metric}
    test = {"recall": metric | {"value": 0.85}, "auroc": metric, "mcc": metric}
    found = gaps(val | {"accuracy": 0.9}, test | {"accuracy": metric})
    assert list(found) == ["recall"]
    assert found["recall"]["value"] == pytest.approx(0.05)
    assert "mcc" not in MAIN


def measured(rows, *, binary=True):
    """Of (called, label, patient, subgroup) each."""
    called, labels, patients, subgroups = zip(*rows, strict=True)
    return measure_subgroups(called, labels, patients, subgroups, binary=binary)


def test_each_subgroup_is_counted_and_measured_on_its_own_images() -> None:
    rows = [(int(i >= 2), 1, f"b{i}", "bacteria") for i in range(20)]
    rows += [(1, 1, f"v{i // 2}", "virus") for i in range(10)]
    rows += [(int(i < 3), 0, f"n{i}", None) for i in range(30)]
    found = measured(rows)
    assert list(found) == ["bacteria", "virus"]  # nobody without a subgroup is positive
    bacteria, virus = found["bacteria"], found["virus"]
    assert (bacteria["images"], bacteria["patients"], bacteria["positives"]) == (20, 20, 20)
    assert (virus["images"], virus["patients"]) == (10, 5)
    assert bacteria["recall"]["value"] == 0.9
    assert (bacteria["recall"]["low"], bacteria["recall"]["high"]) == wilson(18, 20)
    assert virus["recall"]["low"] < wilson(10, 10)[0]  # two images a patient tell less
    assert bacteria["specificity"] is virus["specificity"] is None
    assert bacteria["recall"]["against_others"]["value"] == pytest.approx(-0.1)
    assert not bacteria["recall"]["below"]


def test_positives_without_a_subgroup_are_one_more() -> None:
    rows = [(1, 1, "a", "x"), (0, 1, "b", None), (0, 0, "c", None), (0, 0, "d", "x")]
    found = measured(rows)
    assert list(found) == [NONE, "x"]
    assert (found[NONE]["images"], found[NONE]["positives"]) == (2, 1)
    assert found[NONE]["specificity"]["value"] == found["x"]["specificity"]["value"] == 1.0


def test_a_subgroup_without_positives_has_a_specificity_only() -> None:
    found = measured([(1, 1, "a", "x"), (0, 0, "b", "y")])
    assert found["y"]["recall"] is None
    assert found["y"]["specificity"]["value"] == 1.0
    assert found["x"]["recall"]["against_others"] is None


def test_several_classes_are_measured_by_accuracy() -> None:
    found = measured([(2, 2, "a", "x"), (1, 2, "b", "x"), (0, 0, "c", None)], binary=False)
    assert list(found) == [NONE, "x"]
    assert found["x"]["accuracy"]["value"] == 0.5
    assert "recall" not in found["x"]


def test_without_subgroups_there_is_nothing() -> None:
    assert measured([(1, 1, "a", None)]) == {}


def test_what_is_missed_far_more_often_is_called_below() -> None:
    rows = [(int(i % 2), 1, f"v{i}", "virus") for i in range(60)]
    rows += [(1, 1, f"b{i}", "bacteria") for i in range(60)]
    found = measured(rows)
    assert found["virus"]["recall"]["below"]
    assert not found["bacteria"]["recall"]["below"]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_none_is_called_below_whose_difference_may_be_nothing(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [(int(rng.random() < 0.8), 1, f"p{i}", f"g{i % count}") for i in range(25 * count)]
    for entry in measured(rows).values():
        if entry["recall"]["below"]:
            assert entry["recall"]["against_others"]["high"] < 0


def test_among_many_alike_no_more_than_one_run_in_twenty_names_one() -> None:
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(100):
        rows = [(int(rng.random() < 0.8), 1, f"p{i}", f"g{i % 8}") for i in range(200)]
        named += any(entry["recall"]["below"] for entry in measured(rows).values())
    assert named <= 9  # 5 expected at most; 9 is two standard errors above


def test_parts_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="must be of the same images"):
        measure_subgroups([1, 0], [1, 0], ["a", "b"], ["x"], binary=True)
