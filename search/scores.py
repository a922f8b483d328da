"""How good are answers, in numbers with intervals?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.result import with_intervals


def measured(
    probabilities: Any, labels: Any, classes: Sequence[str], *, threshold: float | None
) -> dict[str, Any]:
    """Metrics of answers to some images, as `search.result.with_intervals` gives them.

    Args:
        probabilities: float (images, classes).
        labels: int64 (images,), positions in `classes`.
        classes: names; the positive one is the second.
        threshold: from which on an image counts as positive; None: the most probable class counts.
    """
    import numpy as np

    from xfer.evaluate.confusion import confusion_binary, confusion_matrix
    from xfer.evaluate.metrics import evaluate_binary, evaluate_classes

    if threshold is not None:
        scores = probabilities[:, 1]
        counts = confusion_binary(scores, labels, threshold=threshold)
        confusion = {key: int(getattr(counts, key)) for key in ("tp", "fp", "fn", "tn")}
        return with_intervals(evaluate_binary(scores, labels, threshold=threshold), confusion)
    matrix = confusion_matrix(labels, np.argmax(probabilities, axis=1), classes=len(classes))
    confusion = {"classes": list(classes), "matrix": matrix.tolist()}
    return with_intervals(evaluate_classes(probabilities, labels, classes), confusion)
