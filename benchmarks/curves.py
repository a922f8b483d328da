"""What would a trial have reported? Learning curves of real trials, kept in a file and replayed.

    python -m benchmarks.curves [TRIALS]

trains networks of spaces/digits.py that were drawn at random, each to its last epoch, and writes
what every epoch reported to curves.json. A trial that is replayed gets the curve of the recorded
one whose hyperparameters are nearest, moved a little by chance, so that few scores are equal. No
torch is needed for that.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
SPACE = "spaces/digits.py"
TRIALS = 24
MOVED = 0.01
"""Standard deviation of what a whole curve is moved by; of each of its epochs a third of that."""
OUT_OF_MEMORY = 50
"""One trial in so many reports that it was."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Recorded trials."""

    trials: Sequence[Mapping[str, Any]]
    """Each with its `params` and `epochs`, the results as `EpochResult.to_dict` gives them."""

    def of(self, number: int, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The results that a trial reports, epoch by epoch; the same whenever it is asked for.

        Args:
            number: the trial's.
            params: its hyperparameters; those that no recorded trial has are passed over.
        """
        draw = random.Random(number)
        nearest = min(self.trials, key=lambda trial: self._distance(trial["params"], params))
        offset = draw.gauss(0, MOVED)
        found: list[dict[str, Any]] = []
        best = -math.inf
        for epoch in nearest["epochs"]:
            by = offset + draw.gauss(0, MOVED / 3)
            score = min(1.0, max(0.0, epoch["search_score"] + by))
            left_out = [min(1.0, max(0.0, each + by)) for each in epoch["left_out"]]
            moved = {"search_score": score, "left_out": left_out, "best": score > best}
            best = max(best, score)
            found.append({**epoch, **moved})
        return found

    @cached_property
    def _widths(self) -> dict[str, float]:
        """Of numbers, how far the recorded ones are apart."""
        widths = {}
        for name, value in self.trials[0]["params"].items():
            if _is_number(value):
                values = [_place(trial["params"][name]) for trial in self.trials]
                widths[name] = max(values) - min(values) or 1.0
        return widths

    def _distance(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
        total = 0.0
        for name in one.keys() & other.keys():
            a, b = one[name], other[name]
            if name in self._widths and _is_number(b):
                total += ((_place(a) - _place(b)) / self._widths[name]) ** 2
            else:
                total += a != b
        return total


def read_curves(file: Path = FILE) -> Curves:
    """The recorded trials."""
    return Curves(trials=json.loads(file.read_text(encoding="utf-8")))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _place(value: float) -> float:
    """Rates and penalties are compared by their logarithms."""
    return math.log10(value) if 0 < value < 0.1 else float(value)


def _record(trials: int) -> list[dict[str, Any]]:
    import optuna

    from search.images import load_images
    from search.options import parse
    from search.plan import make_plan
    from search.space import load_space
    from xfer.numerics import set_threads
    from xfer.train import fit

    set_threads(1)
    plan = make_plan(load_space(SPACE), parse([SPACE]))
    data, _ = load_images(plan, ("bilinear",))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = []
    for number in range(trials):
        trial = study.ask()
        recipe = plan.recipe(trial)  # pyright: ignore[reportArgumentType]
        epochs = [each.to_dict() for each in fit(recipe, data, plan.objective, seed=number)]
        found.append({"params": trial.params, "epochs": [_rounded(epoch) for epoch in epochs]})
        print(f"{number}: {[epoch['search_score'] for epoch in found[-1]['epochs']]}")
    return found


def _rounded(value: Any) -> Any:
    """Four digits are enough, and keep the file small."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    recorded = _record(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS)
    lines = ",\n".join(json.dumps(trial) for trial in recorded)
    FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
