"""Metrics of made-up counts, with Wilson's interval around shares of images."""

from collections.abc import Mapping
from typing import Any

from search.result import with_intervals
from xfer.evaluate.intervals import wilson


def with_wilson(metrics: Mapping[str, float], confusion: Mapping[str, Any]) -> dict[str, Any]:
    """As `with_intervals`; what is no share of images has no interval."""
    counted = counts_of(confusion)
    nothing = float("nan"), float("nan")
    ends = {name: wilson(*counted[name]) if name in counted else nothing for name in metrics}
    return with_intervals(metrics, ends, confusion)


def counts_of(confusion: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Successes and trials of every metric that is a share of images."""
    if "tp" in confusion:
        tp, fp, fn, tn = (int(confusion[key]) for key in ("tp", "fp", "fn", "tn"))
        return {
            "recall": (tp, tp + fn), "precision": (tp, tp + fp), "specificity": (tn, tn + fp),
            "accuracy": (tp + tn, tp + fp + fn + tn),
        }  # fmt: skip
    matrix, names = confusion["matrix"], confusion["classes"]
    counted = {"accuracy": (sum(row[i] for i, row in enumerate(matrix)), sum(map(sum, matrix)))}
    for i, name in enumerate(names):
        counted[f"recall/{name}"] = matrix[i][i], sum(matrix[i])
    return counted
