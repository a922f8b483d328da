"""Metrics say what scikit-learn says, and what scikit-learn will not say is said by rule."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from xfer.errors import DataError
from xfer.evaluate.confusion import confusion_binary, confusion_matrix
from xfer.evaluate.metrics import METRICS, evaluate_binary, evaluate_classes

# Few distinct values make ties; the rest are any.
SCORE = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))


@st.composite
def answers(draw):
    images = draw(st.integers(1, 30))
    scores = draw(hnp.arrays(np.float64, images, elements=SCORE))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, 1)))
    return scores, labels


@st.composite
def class_answers(draw):
    images, classes = draw(st.integers(1, 25)), draw(st.integers(3, 5))
    raw = draw(hnp.arrays(np.float64, (images, classes), elements=st.integers(1, 4)))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    return raw / raw.sum(axis=1, keepdims=True), labels


def sklearn_binary(scores, labels, called):
    """scikit-learn on scores (images,), labels (images,) and decisions (images,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where our rule says 0.0
        return {
            "recall": sk.recall_score(labels, called, zero_division=0.0),
            "precision": sk.precision_score(labels, called, zero_division=0.0),
            "specificity": sk.recall_score(labels, called, pos_label=0, zero_division=0.0),
            "f1": sk.fbeta_score(labels, called, beta=1, zero_division=0.0),
            "f2": sk.fbeta_score(labels, called, beta=2, zero_division=0.0),
            "accuracy": sk.accuracy_score(labels, called),
            "mcc": sk.matthews_corrcoef(labels, called),
            "auroc": sk.roc_auc_score(labels, scores) if len(set(labels)) == 2 else math.nan,
            "average_precision": sk.average_precision_score(labels, scores),
        }


@given(answers(), SCORE)
def test_binary_metrics_equal_scikit_learns(case, threshold):
    scores, labels = case
    ours = evaluate_binary(scores, labels, threshold=threshold)
    oracle = sklearn_binary(scores, labels, (scores >= threshold).astype(int))
    oracle["balanced_accuracy"] = (oracle["recall"] + oracle["specificity"]) / 2
    assert tuple(ours) == METRICS
    assert ours == pytest.approx(oracle, abs=1e-12, nan_ok=True)
    if len(set(labels)) == 2:
        balanced = sk.balanced_accuracy_score(labels, scores >= threshold)
        assert ours["balanced_accuracy"] == pytest.approx(balanced)


@settings(max_examples=25)  # up to 45 calls of scikit-learn each
@given(class_answers())
def test_class_metrics_are_each_class_against_the_rest(case):
    probabilities, labels = case
    classes = probabilities.shape[1]
    names = [f"class {c}" for c in range(classes)]
    ours = evaluate_classes(probabilities, labels, names)
    decisions = probabilities.argmax(axis=1)
    each = []
    for c, name in enumerate(names):
        oracle = sklearn_binary(
            probabilities[:, c], (labels == c).astype(int), (decisions == c).astype(int)
        )
        oracle["balanced_accuracy"] = (oracle["recall"] + oracle["specificity"]) / 2
        each.append(oracle)
        for metric in METRICS:
            assert ours[f"{metric}/{name}"] == pytest.approx(
                oracle[metric], abs=1e-12, nan_ok=True
            ), metric
    present = np.unique(labels)
    for metric in set(METRICS) - {"accuracy", "balanced_accuracy", "mcc"}:
        values = np.array([each[c][metric] for c in present])
        mean = np.nanmean(values) if not np.isnan(values).all() else math.nan
        assert ours[metric] == pytest.approx(mean, abs=1e-12, nan_ok=True), metric
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(labels, decisions))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        balanced = sk.balanced_accuracy_score(labels, decisions)
        assert ours["balanced_accuracy"] == pytest.approx(balanced, abs=1e-12)
        assert ours["mcc"] == pytest.approx(sk.matthews_corrcoef(labels, decisions), abs=1e-12)


def test_class_ranking_equals_scikit_learns_macro_where_every_class_is_there():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    probabilities = generator.dirichlet([1] * 4, len(labels))
    ours = evaluate_classes(probabilities, labels, list("abcd"))
    assert ours["auroc"] == pytest.approx(
        sk.roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    one_hot = np.eye(4)[labels]
    assert ours["average_precision"] == pytest.approx(
        sk.average_precision_score(one_hot, probabilities, average="macro")
    )
    decisions = probabilities.argmax(axis=1)
    assert ours["recall"] == pytest.approx(sk.recall_score(labels, decisions, average="macro"))
    assert ours["f2"] == pytest.approx(sk.fbeta_score(labels, decisions, beta=2, average="macro"))


@given(answers(), SCORE)
def test_the_four_counts_equal_scikit_learns(case, threshold):
    scores, labels = case
    counts = confusion_binary(scores, labels, threshold=threshold)
    oracle = sk.confusion_matrix(labels, scores >= threshold, labels=[0, 1]).ravel()
    assert [int(n) for n in (counts.tn, counts.fp, counts.fn, counts.tp)] == oracle.tolist()


@given(class_answers())
def test_the_matrix_equals_scikit_learns(case):
    probabilities, labels = case
    classes = probabilities.shape[1]
    decisions = probabilities.argmax(axis=1)
    oracle = sk.confusion_matrix(labels, decisions, labels=range(classes))
    assert confusion_matrix(labels, decisions, classes=classes).tolist() == oracle.tolist()


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.2, 0.9], [1, 1], {"specificity": 0.0, "recall": 0.5}),
        ([0.2, 0.9], [0, 0], {"recall": 0.0, "average_precision": 0.0}),
        ([0.1, 0.2], [0, 1], {"precision": 0.0, "f1": 0.0, "mcc": 0.0}),
        ([0.7] * 4, [0, 1, 0, 1], {"auroc": 0.5, "average_precision": 0.5}),
    ],
    ids=["no negatives", "no positives", "none called", "all equal"],
)
def test_what_would_be_divided_by_zero_is_zero(scores, labels, expected):
    ours = evaluate_binary(scores, labels, threshold=0.5)
    assert {name: ours[name] for name in expected} == expected


def test_auroc_of_one_class_is_not_a_number():
    assert math.isnan(evaluate_binary([0.2, 0.9], [1, 1], threshold=0.5)["auroc"])
    assert math.isnan(evaluate_classes([[0.2, 0.5, 0.3]], [1], list("abc"))["auroc"])


def test_a_class_without_images_does_not_lower_the_mean():
    perfect = np.eye(3)[[0, 1, 0, 1]]
    ours = evaluate_classes(perfect, [0, 1, 0, 1], ["a", "b", "absent"])
    assert (ours["recall"], ours["auroc"], ours["recall/absent"]) == (1.0, 1.0, 0.0)


NAN = float("nan")


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([0.1, NAN], [0, 1], "scores must be numbers in [0, 1], got NaN 1 times"),
        ([0.1, 1.5], [0, 1], "scores must be in [0, 1], got values from 0.1 to 1.5"),
        ([0.1, float("inf")], [0, 1], "scores must be in [0, 1], got values from 0.1 to inf"),
        ([0.1, 0.2], [0, 2], "labels must be 0 or 1, got 0, 2"),
        ([0.1, 0.2], [0], "scores (2,) and labels (1,) must be of the same images"),
        ([], [], "scores and labels must not be empty"),
        ([[0.1, 0.2]], [0], "scores must have shape (images,), got (1, 2)"),
        (["a", "b"], [0, 1], "scores must be numbers"),
    ],
)
def test_scores_that_cannot_be_evaluated_are_refused(scores, labels, said):
    with pytest.raises(DataError) as caught:
        evaluate_binary(scores, labels, threshold=0.5)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("probabilities", "labels", "names", "said"),
    [
        ([[0.1, NAN, 0.9]], [0], "abc", "probabilities must be numbers in [0, 1], got NaN 1 times"),
        ([[0.1, 0.2, 0.7]], [3], "abc", "labels must be whole numbers in [0, 2], got 3"),
        ([[0.1, 0.2, 0.7]], [1], "ab", "class_names must name 3 classes, got 2: ['a', 'b']"),
        ([0.1, 0.2], [0, 1], "ab", "must have shape (images, classes) with at least 2 classes"),
    ],
)
def test_probabilities_that_cannot_be_evaluated_are_refused(probabilities, labels, names, said):
    with pytest.raises(DataError) as caught:
        evaluate_classes(probabilities, labels, list(names))
    assert said in str(caught.value)


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="threshold must be a number, got NaN"):
        evaluate_binary([0.1, 0.9], [0, 1], threshold=NAN)
