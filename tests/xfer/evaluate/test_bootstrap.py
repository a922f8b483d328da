"""A draw is what the metrics say of the drawn patients' images; intervals are SciPy's."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xfer.errors import DataError
from xfer.evaluate.bootstrap import (
    draw_patients,
    intervals,
    number_patients,
    paired_differences,
    share_of,
)
from xfer.evaluate.intervals import proportion_by_patient, score_interval, wilson
from xfer.evaluate.metrics import METRICS, evaluate_binary, evaluate_classes
from xfer.evaluate.resampled import resample_binary, resample_classes

SHARES = ("recall", "precision", "specificity", "accuracy")
SCORES = st.sampled_from([0.0, 0.25, 0.4, 0.5, 0.75, 1.0])


@st.composite
def answers(draw):
    """Scores, labels, patients."""
    images = draw(st.integers(1, 25))
    listed = partial(st.lists, min_size=images, max_size=images)
    scores, labels = draw(listed(SCORES)), draw(listed(st.integers(0, 1)))
    return np.array(scores), np.array(labels), draw(listed(st.sampled_from("abcdefgh")))


@st.composite
def class_answers(draw):
    """Probabilities, labels, patients, of three classes."""
    images = draw(st.integers(1, 20))
    listed = partial(st.lists, min_size=images, max_size=images)
    raw = np.array(draw(listed(st.tuples(*[st.integers(1, 4)] * 3))), float)
    labels, patients = draw(listed(st.integers(0, 2))), draw(listed(st.sampled_from("abcdef")))
    return raw / raw.sum(axis=1, keepdims=True), np.array(labels), patients


def normal_scores(images, *, seed=0, gap=1.5):
    """Scores (images,) and labels (images,), every second image positive."""
    labels = np.arange(images) % 2
    raw = np.random.default_rng(seed).normal(size=images) + gap * (labels - 0.5)
    return 1 / (1 + np.exp(-raw)), labels


def drawn_images(patients, draws):
    """For each draw, the positions of its images, as often as they are drawn."""
    whose = number_patients(patients, len(patients))
    for taken in draw_patients(whose, draws=draws, seed=0):
        for of_patient in taken:
            yield np.repeat(np.arange(len(whose)), of_patient[whose])


def silent(metric, scores, labels, threshold):
    """The draw says nothing of the metric: something of it is divided by zero."""
    positive, negative = labels.any(), not labels.all()
    called = (scores >= threshold).any()
    match metric:
        case "recall" | "average_precision":
            return not positive
        case "specificity":
            return not negative
        case "precision":
            return not called
        case "f1" | "f2":
            return not (positive or called)
        case "accuracy":
            return False
    return not (positive and negative)


@given(answers(), SCORES)
def test_a_draw_is_evaluated_as_its_images_are(case, threshold):
    scores, labels, patients = case
    found = resample_binary(scores, labels, patients, threshold=threshold, draws=5)
    assert dict(found.values) == pytest.approx(
        evaluate_binary(scores, labels, threshold=threshold), nan_ok=True
    )
    for i, rows in enumerate(drawn_images(patients, 5)):
        oracle = evaluate_binary(scores[rows], labels[rows], threshold=threshold)
        for metric in METRICS:
            if silent(metric, scores[rows], labels[rows], threshold):
                oracle[metric] = math.nan
        ours = {metric: found.draws[metric][i] for metric in METRICS}
        assert ours == pytest.approx(oracle, abs=1e-12, nan_ok=True)


@settings(max_examples=30)
@given(class_answers())
def test_a_draw_of_several_classes_is_evaluated_as_its_images_are(case):
    probabilities, labels, patients = case
    found = resample_classes(probabilities, labels, ["x", "y", "z"], patients, draws=4)
    assert dict(found.values) == pytest.approx(
        evaluate_classes(probabilities, labels, ["x", "y", "z"]), nan_ok=True
    )
    for i, rows in enumerate(drawn_images(patients, 4)):
        oracle = evaluate_classes(probabilities[rows], labels[rows], ["x", "y", "z"])
        decisions = probabilities[rows].argmax(axis=1)
        for metric in METRICS:
            if metric in ("specificity", "mcc", "auroc") and len(set(labels[rows])) == 1:
                oracle[metric] = math.nan
            for c, name in enumerate("xyz"):
                if silent(metric, (decisions == c).astype(float), labels[rows] == c, 0.5):
                    oracle[f"{metric}/{name}"] = math.nan
        ours = {metric: drawn[i] for metric, drawn in found.draws.items()}
        assert ours == pytest.approx(oracle, abs=1e-12, nan_ok=True)


@given(answers(), SCORES)
def test_intervals_stay_in_range_and_are_nan_only_where_the_metric_is(case, threshold):
    found = resample_binary(*case, threshold=threshold, draws=20)
    for metric, (low, high) in intervals(found).items():
        if math.isnan(found.values[metric]):
            assert math.isnan(low)
            assert math.isnan(high)
        else:
            assert (-1.0 if metric == "mcc" else 0.0) <= low <= high <= 1.0, metric
    with_itself = paired_differences(found, found)
    for metric, difference in with_itself.items():
        assert math.isnan(difference.value) == math.isnan(found.values[metric])
        assert difference.better == 0.5 or math.isnan(difference.better), metric


@pytest.mark.parametrize("metric", ["auroc", "average_precision", "f2", "mcc"])
def test_draws_and_differences_agree_with_scipys_within_monte_carlo_error(metric):
    (scores, labels), (others, _) = normal_scores(80), normal_scores(80, seed=5)
    first, second = (
        resample_binary(each, labels, np.arange(80), threshold=0.5, draws=2000)
        for each in (scores, others)
    )

    def statistic(rows):
        rows = rows.astype(int)
        ours, theirs = (
            evaluate_binary(each[rows], labels[rows], threshold=0.5) for each in (scores, others)
        )
        one.append(ours[metric])
        return ours[metric] - theirs[metric]

    one = []
    oracle = stats.bootstrap(
        (np.arange(80),), statistic, n_resamples=500, method="percentile", vectorized=False,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    # The deviation of 500 draws has a relative standard error of 1 / sqrt(1000).
    assert first.draws[metric].std() == pytest.approx(np.std(one), rel=0.14)
    assert first.draws[metric].mean() == pytest.approx(np.mean(one), abs=0.2 * np.std(one))
    # A percentile of B draws has one of 2.67 deviations / sqrt(B); 4 of both together.
    allowed = 4 * 2.67 * oracle.standard_error * math.sqrt(1 / 500 + 1 / 2000)
    expected = (oracle.confidence_interval.low, oracle.confidence_interval.high)
    found = paired_differences(first, second)[metric]
    assert (found.low, found.high) == pytest.approx(expected, abs=allowed)


@pytest.mark.parametrize("gap", [0.5, 1.5])
def test_intervals_far_from_the_ends_are_as_wide_as_percentiles_are(gap):
    scores, labels = normal_scores(600, gap=gap)
    found = resample_binary(scores, labels, np.arange(600), threshold=0.5)
    for metric in ("auroc", "average_precision", "balanced_accuracy", "f1", "f2", "mcc"):
        low, high = intervals(found)[metric]
        least, most = np.quantile(found.draws[metric], [0.025, 0.975])
        assert high - low == pytest.approx(most - least, rel=0.1), metric
        assert low < found.values[metric] < high


def test_shares_have_wilsons_interval_on_the_effective_number():
    scores, labels = normal_scores(60)
    patients = np.arange(60) // 4
    found = resample_binary(scores, labels, patients, threshold=0.4, draws=10)
    ill = labels == 1
    recall = proportion_by_patient(scores[ill] >= 0.4, patients[ill])
    assert intervals(found)["recall"] == (recall.low, recall.high)
    assert share_of(found, "recall") == recall
    assert set(found.shares) == set(SHARES)
    for metric in SHARES:
        assert share_of(found, metric).value == pytest.approx(found.values[metric])


def test_shares_of_several_classes_are_those_that_are_counted():
    labels = np.arange(30) % 3
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], 30)
    found = resample_classes(probabilities, labels, "xyz", np.arange(30), draws=10)
    assert set(found.shares) == {"accuracy"} | {f"{m}/{c}" for m in SHARES for c in "xyz"}
    for metric in found.shares:
        assert share_of(found, metric).value == pytest.approx(found.values[metric]), metric


def test_copies_of_a_patients_images_tell_nothing_new():
    scores, labels = normal_scores(40)
    once = resample_binary(scores, labels, np.arange(40), threshold=0.5, draws=200)
    thrice = resample_binary(
        *(np.repeat(each, 3) for each in (scores, labels, np.arange(40))), threshold=0.5, draws=200
    )
    narrow = resample_binary(
        *(np.repeat(each, 3) for each in (scores, labels)), np.arange(120), threshold=0.5, draws=200
    )
    for metric, (low, high) in intervals(once).items():
        assert intervals(thrice)[metric] == pytest.approx((low, high)), metric
        ends = intervals(narrow)[metric]
        assert ends[1] - ends[0] < 0.8 * (high - low), metric


def test_the_same_seed_gives_the_same_draws_and_another_gives_others():
    scores, labels = normal_scores(300)
    first, again, other = (
        resample_binary(scores, labels, np.arange(300), threshold=0.5, draws=500, seed=seed)
        for seed in (1, 1, 2)
    )
    for metric in METRICS:
        assert np.array_equal(first.draws[metric], again.draws[metric])
    assert not np.array_equal(first.draws["auroc"], other.draws["auroc"])
    assert len(first.draws["auroc"]) == 500


def test_every_draw_has_as_many_patients_as_there_are():
    whose = number_patients(["b", "a", "b", "c"], 4)
    assert whose.tolist() == [1, 0, 1, 2]
    taken = np.concatenate(list(draw_patients(whose, draws=3000, seed=0)))
    assert taken.shape == (3000, 3)
    assert (taken.sum(axis=1) == 3).all()
    assert taken.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.06)


def test_a_difference_is_paired():
    scores, labels = normal_scores(400)
    slightly = np.clip(scores + 0.02 * (labels - 0.5), 0, 1)
    first, second = (
        resample_binary(each, labels, np.arange(400), threshold=0.5) for each in (slightly, scores)
    )
    found = paired_differences(first, second)["auroc"]
    assert found.value == pytest.approx(first.values["auroc"] - second.values["auroc"])
    assert 0 < found.low < found.value < found.high
    assert found.better > 0.975
    low, high = intervals(first)["auroc"]
    assert found.high - found.low < 0.2 * (high - low)
    back = paired_differences(second, first)["auroc"]
    assert (back.low, back.high, back.better) == pytest.approx(
        (-found.high, -found.low, 1 - found.better)
    )


def test_answers_that_do_not_differ_are_equally_good():
    scores, labels = normal_scores(50)
    found = resample_binary(scores, labels, np.arange(50), threshold=0.5, draws=50)
    for difference in paired_differences(found, found).values():
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert difference.better == 0.5


def test_answers_without_a_fault_are_trusted_as_far_as_the_rarer_class_goes():
    labels = np.array([1] * 10 + [0] * 40)
    found = intervals(resample_binary(labels.astype(float), labels, np.arange(50), threshold=0.5))
    low, high = wilson(10, 10)
    for metric in ("auroc", "average_precision", "balanced_accuracy", "f1", "f2", "recall"):
        assert found[metric] == pytest.approx((low, high)), metric
    assert found["mcc"] == pytest.approx((2 * low - 1, 1.0))
    turned = resample_binary(1.0 - labels, labels, np.arange(50), threshold=0.5)
    assert intervals(turned)["auroc"] == pytest.approx((0.0, 1 - low))


def test_nearly_faultless_answers_are_trusted_no_more_than_a_share_of_their_images():
    labels = np.arange(100) % 2
    scores = np.linspace(0, 1, 100) / 2 + labels / 2
    scores[0], scores[1] = 0.61, 0.6  # one pair of 2,500 is the wrong way round
    found = resample_binary(scores, labels, np.arange(100), threshold=0.605)
    value = np.asarray(found.values["auroc"])
    assert 0.99 < value < 1
    low, high = score_interval(value, np.asarray(share_of(found, "accuracy").effective), 0.95)
    assert intervals(found)["auroc"] == pytest.approx((float(low), float(high)))
    assert np.quantile(found.draws["auroc"], 0.025) > low + 0.01


def test_no_positives_one_patient_and_equal_scores():
    none = resample_binary([0.1, 0.6, 0.3], [0, 0, 0], list("abc"), threshold=0.5, draws=50)
    found = intervals(none)
    assert all(map(math.isnan, found["auroc"]))
    for metric in ("recall", "average_precision", "balanced_accuracy"):
        assert found[metric] == (0.0, 1.0), metric
    assert found["mcc"] == (-1.0, 1.0)
    alone = resample_binary([0.9, 0.1, 0.8], [1, 0, 0], ["a"] * 3, threshold=0.5, draws=50)
    assert intervals(alone)["auroc"] == (0.0, 1.0)
    difference = paired_differences(alone, alone)
    assert (difference["auroc"].low, difference["auroc"].high) == (-1.0, 1.0)
    assert (difference["mcc"].low, difference["mcc"].high) == (-2.0, 2.0)
    equal = resample_binary([0.5] * 20, [0, 1] * 10, np.arange(20), threshold=0.5, draws=50)
    assert intervals(equal)["auroc"] == pytest.approx(wilson(5, 10))


def test_only_answers_to_the_same_images_are_compared():
    scores, labels = normal_scores(20)
    resample = partial(resample_binary, threshold=0.5, draws=20)
    first = resample(scores, labels, np.arange(20))
    for other, what in (
        (resample(scores, 1 - labels, np.arange(20)), "labels"),
        (resample(scores, labels, np.arange(20) // 2), "patients"),
        (resample(scores, labels, np.arange(20), seed=1), "seed"),
        (resample(scores, labels, np.arange(20), draws=21), "draws"),
    ):
        with pytest.raises(DataError) as caught:
            paired_differences(first, other)
        assert f"can be compared: their {what} differ" in str(caught.value)


def test_impossible_requests_are_refused():
    with pytest.raises(DataError) as caught:
        resample_binary([0.1, 0.2], [0, 1], ["a"], threshold=0.5)
    assert "patients must name whose each of 2 images is, got (1,)" in str(caught.value)
    with pytest.raises(DataError) as caught:
        resample_binary([0.1, 0.2], [0, 1], ["a", "b"], threshold=0.5, draws=0)
    assert "draws must be at least 1, got 0" in str(caught.value)
