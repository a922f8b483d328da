"""Answers that Hypothesis draws, every objective there is, and scikit-learn's word on each."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from xfer.recipe import Objective

# Few distinct values make ties; the rest are any.
SCORE = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))
OVER = st.sampled_from(["macro", "worst", "worst_subgroup"])

EVERY = (
    Objective("recall_weighted", recall_weight=0.75),
    Objective("cost", miss_cost=10),
    Objective("cost", miss_cost=10, prevalence=0.05),
    Objective("balanced_accuracy"),
    Objective("fbeta"),
    Objective("mcc"),
    Objective("specificity_at_recall", at=0.9),
    Objective("recall_at_specificity", at=0.9),
    Objective("auroc"),
    Objective("partial_auroc", above=0.8),
    Objective("average_precision"),
    Objective("log_loss"),
)
"""One or two of each name."""

BY_DECISION = st.one_of(
    st.builds(Objective, st.just("recall_weighted"), recall_weight=st.floats(0, 1)),
    st.builds(Objective, st.just("fbeta"), beta=st.floats(0.1, 4)),
    st.builds(
        Objective,
        st.just("cost"),
        miss_cost=st.floats(0.01, 100),
        prevalence=st.none() | st.floats(0.01, 0.99),
    ),
    st.sampled_from([Objective("balanced_accuracy"), Objective("mcc")]),
)
REACHED = st.builds(
    Objective,
    st.sampled_from(["specificity_at_recall", "recall_at_specificity"]),
    at=st.floats(0.01, 1) | st.sampled_from([0.5, 0.75, 0.9]),
)
RANKED = st.one_of(
    st.sampled_from([Objective("auroc"), Objective("average_precision"), Objective("log_loss")]),
    st.builds(Objective, st.just("partial_auroc"), above=st.floats(0, 0.99)),
)
ANY = st.one_of(BY_DECISION, REACHED, RANKED)


@st.composite
def answers(draw):
    """Scores (images,) and labels (images,) of both classes."""
    images = draw(st.integers(2, 20))
    scores = draw(hnp.arrays(np.float64, images, elements=SCORE))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, 1)))
    labels[0], labels[1] = 0, 1
    return scores, labels


@st.composite
def class_answers(draw):
    """Probabilities (images, classes) and labels (images,) of two classes at least."""
    images, classes = draw(st.integers(2, 25)), draw(st.integers(3, 5))
    raw = draw(hnp.arrays(np.float64, (images, classes), elements=st.integers(1, 4)))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    labels[0], labels[1] = 0, 1
    return raw / raw.sum(axis=1, keepdims=True), labels


def two_columns(scores):
    return np.stack([1 - scores, scores], axis=1)


def all_calls(scores):
    """Every set of calls that some threshold in [0, 1] makes."""
    edges = np.unique(np.concatenate([scores, [1.0]]))
    return [(scores >= edge).astype(int) for edge in edges]


def by_sklearn(objective, called, labels):
    """An objective of decisions; -1 where they do not reach what is asked for."""
    recall = sk.recall_score(labels, called)
    specificity = sk.recall_score(labels, called, pos_label=0)
    match objective.name:
        case "recall_weighted":
            weight = objective.recall_weight
            return weight * recall + (1 - weight) * specificity
        case "cost":
            _, fp, fn, _ = sk.confusion_matrix(labels, called, labels=[0, 1]).ravel()
            negatives, positives = np.bincount(labels, minlength=2)
            share = objective.prevalence or positives / len(labels)
            by_miss = share / positives * objective.miss_cost
            by_alarm = (1 - share) / negatives
            worst = by_miss * positives + by_alarm * negatives
            return 1 - (fn * by_miss + fp * by_alarm) / worst
        case "balanced_accuracy":
            return sk.balanced_accuracy_score(labels, called)
        case "fbeta":
            return sk.fbeta_score(labels, called, beta=objective.beta, zero_division=0.0)
        case "mcc":
            return sk.matthews_corrcoef(labels, called)
        case "specificity_at_recall":
            return specificity if recall >= objective.at else -1.0
        case "recall_at_specificity":
            return recall if specificity >= objective.at else -1.0


def ranked_by_sklearn(objective, scores, labels):
    """An objective that needs no decision."""
    match objective.name:
        case "auroc":
            return sk.roc_auc_score(labels, scores)
        case "average_precision":
            return sk.average_precision_score(labels, scores)
        case "partial_auroc":
            # scikit-learn's part is that of few false alarms: with the classes exchanged, of few
            # misses.
            return sk.roc_auc_score(1 - labels, -scores, max_fpr=1 - objective.above)
        case "log_loss":
            return np.exp(-sk.log_loss(labels, scores, labels=[0, 1]))


def oracle(objective, scores, labels):
    """The search score of two classes, by trying every threshold."""
    ranked = ranked_by_sklearn(objective, scores, labels)
    if ranked is not None:
        return ranked
    best = max(by_sklearn(objective, called, labels) for called in all_calls(scores))
    return max(best, 0.0) if objective.at is not None else best
