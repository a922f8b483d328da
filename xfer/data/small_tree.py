"""What do a few yes-or-no questions about a table of numbers predict?

Classification by Gini impurity (L. Breiman and others, Classification and Regression Trees, 1984),
grown greedily. It is scikit-learn's DecisionTreeClassifier but for ties: here the first column and
the lowest cut win, so that the order of rows says nothing. Its import alone takes 4 s, which is
more than all else that looks at a set of images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DEPTH = 3
"""Questions that one row is asked at most."""
LEAF_SHARE, LEAF_ROWS = 0.02, 5
"""Of the rows, and in numbers, that stand in a leaf at least; the larger counts."""
_GAIN = 1e-9
"""By which a cut must be better than none, or than one before it, in rows: no rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """Nodes in the order in which they were grown; node 0 is asked first."""

    column: np.ndarray
    """int64 (nodes,): which column is looked at; -1 in a leaf."""
    cut: np.ndarray
    """float64 (nodes,): values up to this one go to `low`, others to `high`."""
    low: np.ndarray
    """int64 (nodes,): the next node; -1 in a leaf."""
    high: np.ndarray
    """int64 (nodes,)."""
    shares: np.ndarray
    """float64 (nodes, classes): of each class among the rows that came by."""
    importance: np.ndarray
    """float64 (columns,): share of the impurity taken away by its questions; 0 where there are
    none."""

    def leaves(self, values: np.ndarray) -> np.ndarray:
        """Where rows end: int64 (rows,), positions of nodes, for values (rows, columns)."""
        at = np.zeros(len(values), dtype=np.int64)
        while len(rows := np.flatnonzero(self.column[at] >= 0)):
            node = at[rows]
            low = values[rows, self.column[node]] <= self.cut[node]
            at[rows] = np.where(low, self.low[node], self.high[node])
        return at

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """float64 (rows, classes), for values (rows, columns)."""
        return self.shares[self.leaves(values)]


def fit_tree(values: np.ndarray, labels: np.ndarray, *, classes: int) -> Tree:
    """Grows a tree of at most DEPTH questions.

    Args:
        values: float64 (rows, columns), finite; at least one row.
        labels: int64 (rows,), in [0, classes).
        classes: how many there are.
    """
    leaf = max(LEAF_ROWS, round(LEAF_SHARE * len(labels)))
    column, cut, low, high, shares = [], [], [], [], []
    gains = np.zeros(values.shape[1])

    def grow(rows: np.ndarray, depth: int) -> int:
        node = len(column)
        column.append(-1)
        cut.append(np.nan)
        low.append(-1)
        high.append(-1)
        shares.append(np.bincount(labels[rows], minlength=classes) / len(rows))
        found = _best(values[rows], labels[rows], classes, leaf) if depth else None
        if found is not None:
            gain, column[node], cut[node] = found
            gains[column[node]] += gain
            below = values[rows, column[node]] <= cut[node]
            low[node] = grow(rows[below], depth - 1)
            high[node] = grow(rows[~below], depth - 1)
        return node

    grow(np.arange(len(labels)), DEPTH)
    return Tree(
        column=np.array(column, dtype=np.int64),
        cut=np.array(cut),
        low=np.array(low, dtype=np.int64),
        high=np.array(high, dtype=np.int64),
        shares=np.stack(shares),
        importance=gains / (gains.sum() or 1.0),
    )


def _best(
    values: np.ndarray, labels: np.ndarray, classes: int, leaf: int
) -> tuple[float, int, float] | None:
    """Gain, column and cut of the question that leaves least impurity; None where none helps.

    Impurity is counted in rows: rows times Gini's, so that gains of several nodes add up.
    """
    rows = len(labels)
    if rows < 2 * leaf:
        return None
    one_hot = np.eye(classes, dtype=np.int64)[labels]
    whole = _purity(one_hot.sum(axis=0), np.array(rows))
    best = None
    for column in range(values.shape[1]):
        order = values[:, column].argsort(kind="stable")
        ordered = values[order, column]
        ends = leaf - 1 + np.flatnonzero(np.diff(ordered[leaf - 1 : rows - leaf + 1]))
        if not len(ends):
            continue
        below = one_hot[order].cumsum(axis=0)
        count = ends + 1
        purity = _purity(below[ends], count) + _purity(below[-1] - below[ends], rows - count)
        top = int((purity > purity.max() - _GAIN).argmax())
        gain = float(purity[top] - whole)
        if gain > (best[0] if best else 0.0) + _GAIN:
            # The lower value itself may be what the middle of two close numbers rounds to.
            middle = (ordered[ends[top]] + ordered[ends[top] + 1]) / 2
            cut = middle if middle < ordered[ends[top] + 1] else ordered[ends[top]]
            best = gain, column, float(cut)
    return best


def _purity(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows times (1 - Gini's impurity), for counts (..., classes) of rows (...)."""
    return (counts.astype(np.float64) ** 2).sum(axis=-1) / rows
