"""What is said of finalists, front, subgroups and gaps, of numbers made up here."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from search.gap import UNKNOWN, caution_of, gap_of
from search.rundir import RunDir
from search.screen import tell_end
from search.sentences import finalists_said, front_said, gap_said, skill_said, subgroups_said
from xfer.data.dataset import Dataset


def finalist(number: int, mean: float, parameters: int, **changes: Any) -> dict[str, Any]:
    values = {
        "number": number, "name": None, "mean": mean, "low": mean - 0.02, "high": mean + 0.02,
        "probability": 0.62, "parameters": parameters, "scores": [mean] * 5,
    }  # fmt: skip
    return values | changes


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([finalist(3, 0.94, 10)], ""),
        ([finalist(3, 0.947, 10)], " Trial 3, simpler, is within .005."),
        ([finalist(3, 0.945, 10)], " Trial 3, simpler, is within .005."),  # .005 but for rounding
        ([finalist(3, 0.947, 900)], " Trial 3 is within .005."),
        (
            [finalist(3, 0.952, 9000)],
            " Trial 3 has a mean that is higher by .002; trial 12 is simpler (500 against 9,000 "
            "trained parameters), and up to .005 the simpler one is taken.",
        ),
        ([finalist(3, 0.96, 9000)], " Trial 3 has a mean that is higher by .010."),
    ],
)
def test_why_a_finalist_won_is_said(others: list[dict[str, Any]], said: str) -> None:
    first = (
        "Trial 12 was chosen: mean .95 over 5 folds (.93 to .97); probability of being best .62."
    )
    assert finalists_said([finalist(12, 0.95, 500), *others], 12) == first + said


def test_the_front_is_told_from_the_cheapest_on() -> None:
    point = {"number": 4, "name": "big", "params": {}, "search_score": 0.97, "latency": 20.51}
    lines = front_said([point, point | {"number": 2, "name": None, "latency": 1.5}])
    assert lines == [
        "trial 2: search score .97 at 1.5 ms per image",
        "trial 4 (big): search score .97 at 20.5 ms per image",
    ]
    (line,) = front_said([{"number": 1, "params": {}, "search_score": 0.9, "parameters": 12345}])
    assert line == "trial 1: search score .90 at 12,345 parameters"


def measure(value: float, *, below: bool) -> dict[str, Any]:
    against = {"value": -0.1, "low": -0.2, "high": -0.01}
    return {
        "value": value, "low": value - 0.1, "high": value + 0.1, "against_others": against,
        "below": below,
    }  # fmt: skip


def test_only_a_subgroup_that_is_shown_to_be_worse_is_told() -> None:
    found = {
        "bacteria": {"positives": 40, "recall": measure(0.8, below=False)},
        "virus": {"positives": 40, "recall": measure(0.7, below=True)},
        "none": {"positives": 0, "recall": None},
    }
    assert subgroups_said(found) == [
        "Worse in virus: recall .70 (.60 to .80), -.10, -.20 to -.01 against the others."
    ]
    assert subgroups_said({"left": {"accuracy": measure(0.5, below=True)}})[0].startswith(
        "Worse in left: accuracy .50"
    )


def data(patients: list[str]) -> Dataset:
    return cast("Dataset", SimpleNamespace(names=("a", "b"), patients=tuple(patients)))


def test_a_gap_warns_where_nobody_knows_the_patients() -> None:
    metric = {"value": 0.9, "low": 0.85, "high": 0.95}
    val, test = {"recall": metric | {"value": 0.93}}, {"recall": metric}
    unknown, known = (
        gap_of(val, test, data(patients), part="val") for patients in (["a", "b"], ["p", "b"])
    )
    assert unknown is not None
    assert known is not None
    assert gap_said(unknown).startswith("Validation less test: recall +.03, ")
    assert gap_said(unknown).endswith(UNKNOWN)
    assert known["caution"] is None
    assert caution_of(data(["a", "b"])) == UNKNOWN
    assert gap_of(None, test, data(["a"]), part="val") is None
    assert gap_of(val, None, data(["a"]), part="val") is None


RESULT: dict[str, Any] = {
    "answer": "Missed 1 of 50.", "test": None, "controls": None, "ensemble": None, "gap": None,
    "threshold": None, "marks": [], "ledger": None, "finalists": None, "experiments": None,
    "front": None,
    "best": {
        "number": 12, "name": None, "epoch": 3, "params": {"lr": 0.1}, "corrected": None,
        "val": {"search_score": 0.9}, "skill": 0.75, "constant": 0.6, "chosen_by": "validation",
    },
}  # fmt: skip


def told(**changes: Any) -> list[str]:
    lines: list[str] = []
    tell_end(RunDir(Path("/runs/x")), RESULT | changes, lines.append)
    return lines


def test_the_last_screen_tells_what_there_is_and_nothing_else() -> None:
    bare = told()
    assert skill_said(RESULT["best"]) in bare
    assert not [line for line in bare if "None" in line or "front" in line or "chosen:" in line]
    finalists = [finalist(12, 0.95, 500), finalist(3, 0.94, 500)]
    full = told(
        finalists=finalists,
        best=RESULT["best"] | {"chosen_by": "folds"},
        ensemble={"said": "The two together."},
        front=[{"number": 1, "params": {}, "search_score": 0.9, "parameters": 7}],
        gap={"metrics": {}, "caution": UNKNOWN},
        ledger="The test images were opened once on this machine (run x).",
        marks=["The splits were kept."],
    )
    for part in (
        "  The two together.",
        "  front: trial 1: search score .90 at 7 parameters",
        "The test images were opened once on this machine (run x).",
        "mark: The splits were kept.",
        finalists_said(finalists, 12),
    ):
        assert part in full


def test_what_a_mark_says_of_the_ledger_is_not_said_twice() -> None:
    twice = "The test images were opened twice on this machine (runs x, y)."
    assert [line for line in told(ledger=twice, marks=[twice]) if "twice" in line] == [
        f"mark: {twice}"
    ]
