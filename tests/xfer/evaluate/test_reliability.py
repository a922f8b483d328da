"""Measures of probabilities agree with scikit-learn, and say what a perfect model would show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from xfer.errors import DataError
from xfer.evaluate.reliability import RELIABILITY, calibration_error, measure_reliability


def both(probabilities):
    return np.column_stack((1 - np.asarray(probabilities), probabilities))


@st.composite
def said(draw):
    images = draw(st.integers(1, 60))
    element = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
    probabilities = draw(hnp.arrays(np.float64, images, elements=element))
    return probabilities, draw(hnp.arrays(np.int64, images, elements=st.integers(0, 1)))


def planted(images, *, slope=1.0, intercept=0.0, seed=0):
    """Probabilities whose calibration slope and intercept at slope 1 are known, and labels."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(0, 2, images)
    labels = (generator.random(images) < expit(slope * odds + intercept)).astype(int)
    return both(expit(odds)), labels


@given(said())
def test_brier_is_scikit_learns(case):
    probabilities, labels = case
    measured = measure_reliability(both(probabilities), labels)
    assert measured["brier"]["value"] == pytest.approx(
        brier_score_loss(labels, probabilities, pos_label=1, labels=[0, 1])
    )
    assert tuple(measured) == RELIABILITY
    assert 0 <= measured["ece"]["value"] <= 1


def test_brier_of_several_classes_is_the_sum_over_them():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
    measured = measure_reliability(probabilities, [0, 2])
    assert measured["brier"]["value"] == pytest.approx((0.25 + 0.09 + 0.04 + 1 + 1) / 2)
    assert "calibration_slope" not in measured


def test_naming_the_share_has_no_skill_and_knowing_has_all():
    labels = np.array([0, 0, 0, 1])
    assert measure_reliability(both([0.25] * 4), labels)["brier_skill"]["value"] == 0
    assert measure_reliability(both(labels), labels)["brier_skill"]["value"] == 1
    assert np.isnan(measure_reliability(both([0.5] * 2), [1, 1])["brier_skill"]["value"])


def test_slope_is_that_of_logistic_regression():
    probabilities, labels = planted(2000, slope=0.5, intercept=-1)
    measured = measure_reliability(probabilities, labels)
    odds = logit(probabilities[:, 1])[:, None]
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(odds, labels)
    assert measured["calibration_slope"]["value"] == pytest.approx(oracle.coef_[0, 0], rel=1e-4)
    moved = expit(odds[:, 0] + measured["calibration_intercept"]["value"])
    assert moved.mean() == pytest.approx(labels.mean(), abs=1e-9)  # what the intercept is for


@pytest.mark.slow
@pytest.mark.parametrize("images_per_patient", [1, 5])
def test_intervals_hold_the_truth_in_95_percent_of_samples(images_per_patient):
    skill = measure_reliability(*planted(400_000, seed=1))["brier_skill"]["value"]
    truth = {"calibration_slope": 1.0, "calibration_intercept": 0.0, "brier_skill": skill}
    held = dict.fromkeys(truth, 0)
    copies = np.repeat(np.arange(200), images_per_patient)
    for seed in range(400):
        probabilities, labels = planted(200, seed=seed + 10)
        measured = measure_reliability(
            probabilities[copies], labels[copies], patients=[str(copy) for copy in copies]
        )
        for name, value in truth.items():
            held[name] += measured[name]["low"] <= value <= measured[name]["high"]
    assert all(0.92 <= times / 400 <= 0.98 for times in held.values()), held


def test_the_interval_of_skill_is_the_bootstraps():
    probabilities, labels = planted(1000, intercept=-2)
    generator = np.random.default_rng(0)
    resampled = []
    for _ in range(1000):
        rows = generator.integers(0, 1000, 1000)
        said, truth = probabilities[rows, 1], labels[rows]
        resampled.append(1 - ((said - truth) ** 2).mean() / truth.var())
    skill = measure_reliability(probabilities, labels)["brier_skill"]
    width = skill["high"] - skill["low"]
    assert width == pytest.approx(2 * 1.96 * np.std(resampled), rel=0.1)


def test_copies_of_a_patients_image_tell_nothing_new():
    probabilities, labels = planted(200)
    copies = np.repeat(np.arange(200), 5)
    patients = [str(copy) for copy in copies]
    once = measure_reliability(probabilities, labels)
    five = measure_reliability(probabilities[copies], labels[copies], patients=patients)
    blind = measure_reliability(probabilities[copies], labels[copies])
    for name in RELIABILITY[:4]:
        limits = five[name]["low"], five[name]["high"]
        assert limits == pytest.approx((once[name]["low"], once[name]["high"]), rel=1e-6)
        width = (blind[name]["high"] - blind[name]["low"]) / (limits[1] - limits[0])
        assert width == pytest.approx(5**-0.5, rel=0.01)


@pytest.mark.parametrize(
    ("probabilities", "labels", "without"),
    [
        ([0.2, 0.8], [0, 1], {"calibration_slope"}),
        ([0.8, 0.2], [0, 1], {"calibration_slope"}),
        ([0.5, 0.5, 0.5], [0, 1, 1], {"calibration_slope"}),
        ([0.1, 0.9], [1, 1], {"calibration_slope", "calibration_intercept"}),
        ([0.0, 1.0, 1.0, 0.0], [0, 1, 0, 1], set()),
    ],
)
def test_what_labels_cannot_tell_is_no_number(probabilities, labels, without):
    measured = measure_reliability(both(probabilities), labels)
    lines = ("calibration_slope", "calibration_intercept")
    assert {name for name in lines if np.isnan(measured[name]["value"])} == without


# --------------------------------------------------------------------------------------------------
# Expected calibration error


def test_the_error_is_the_mean_distance_of_equally_filled_bins():
    probabilities = np.repeat([0.1, 0.4, 0.8], [10, 10, 10])
    happened = np.concatenate([np.arange(10) < ill for ill in (1, 9, 8)]).astype(int)
    measured = calibration_error(probabilities, happened)
    assert measured["bins"] == 3
    assert measured["value"] == pytest.approx((0 + 0.5 + 0) / 3)


@given(said(), st.randoms(use_true_random=False))
def test_the_order_in_which_images_come_does_not_matter(case, random):
    probabilities, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    one, other = (
        calibration_error(probabilities[rows], labels[rows]) for rows in (slice(None), order)
    )
    assert one["value"] == pytest.approx(other["value"], abs=1e-12)
    assert one["expected"] == pytest.approx(other["expected"], abs=1e-12)


def test_a_perfect_model_shows_what_is_expected_of_it():
    expected, shown = [], []
    for seed in range(200):
        probabilities, labels = planted(100, seed=seed)
        measured = calibration_error(probabilities[:, 1], labels)
        expected.append(measured["expected"])
        shown.append(measured["value"])
    assert np.mean(shown) == pytest.approx(np.mean(expected), abs=3 * np.std(shown) / 200**0.5)
    assert np.mean(expected) > 0.05  # far from 0 on 100 images


def test_a_model_that_is_too_sure_shows_more_than_a_perfect_one():
    probabilities, labels = planted(2000, slope=0.2)
    measured = measure_reliability(probabilities, labels)
    assert measured["ece"]["value"] > measured["ece"]["expected_high"]
    assert measured["calibration_slope"]["high"] < 1


def test_one_seed_gives_one_answer():
    probabilities, labels = planted(50)
    one, same, other = (
        measure_reliability(probabilities, labels, seed=seed)["ece"]["expected"]
        for seed in (3, 3, 4)
    )
    assert one == same != other


def test_labels_without_a_class_are_refused():
    with pytest.raises(DataError, match="labels must be whole numbers"):
        measure_reliability(both([0.5]), [2])
