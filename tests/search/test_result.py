"""result.json, trials.csv and the sentence, of trials made up here."""

import csv
import io
import json
import math
from typing import Any

import pytest
from counted import with_wilson

from search.answer import answer, problems_of
from search.result import build_result, with_intervals
from search.trials import TrialRow
from search.trials_csv import FIXED, read_trials_csv, trials_csv
from xfer.data.findings import Finding
from xfer.recipe import Objective, TargetRecall


def row(number: int, state: Any = "complete", **changes: Any) -> TrialRow:
    values: dict[str, Any] = {
        "name": None, "value": 0.8, "params": {"model": "convnet", "lr": 1e-3}, "recipe": None,
        "scores": {1: 0.7, 2: 0.8}, "best_epoch": 2, "val": {"recall": 0.9}, "seconds": 3.25,
        "ended": "all epochs",
    }  # fmt: skip
    return TrialRow(number=number, state=state, **(values | changes))


BINARY = {"tp": 49, "fp": 4, "fn": 1, "tn": 46}
CLASSES = {
    "classes": ["healthy", "rust", "spot"],
    "matrix": [[29, 4, 2], [3, 30, 2], [3, 3, 29]],
}


# --------------------------------------------------------------------------------------------------
# The sentence


def sentence(**changes: Any) -> str:
    values: dict[str, Any] = {
        "test": with_wilson({"recall": 0.98}, BINARY), "positive": "PNEUMONIA", "best": row(3),
        "trials": 16, "demo": False, "opened": 1,
    }  # fmt: skip
    return answer(**(values | changes))


def test_the_answer_counts_misses_and_false_alarms() -> None:
    assert sentence() == (
        "Missed 1 of 50 PNEUMONIA (recall .98, .90 to 1.00); 4 false alarms in 50 others; "
        "test part opened once."
    )


PROBE = {"linear probe": with_wilson({}, {"tp": 48, "fp": 3, "fn": 2, "tn": 47})}


def test_the_answer_is_the_sentence_of_the_design() -> None:
    said = sentence(positive="sick", negative="healthy", controls=PROBE, problems={})
    assert said == (
        "Missed 1 of 50 sick (recall .98, .90 to 1.00); 4 false alarms in 50 healthy; plain linear "
        "probe 2 and 3; test part opened once; problems in the data: none."
    )


def test_problems_are_named_and_what_only_limits_the_data_is_none() -> None:
    found = [
        finding("patient_leak", 3), finding("small_test", 12, refused=False),
        finding("near_duplicate", 1200), finding("patient_leak", 1),
    ]  # fmt: skip
    problems = problems_of(found)
    assert problems == {"patient_leak": 4, "near_duplicate": 1200}
    said = sentence(problems=problems)
    assert said.endswith("; problems in the data: patient leak (4), near duplicate (1,200).")
    assert "problems" not in sentence()  # nobody has looked


def finding(kind: str, count: int, *, refused: bool = True) -> Finding:
    return Finding(kind=kind, count=count, examples=(), effect="", action="", refused=refused)


def test_with_several_classes_the_probe_is_told_by_what_it_has_right() -> None:
    test = with_wilson({"accuracy": 88 / 105}, CLASSES)
    controls = {"linear probe": with_wilson({}, CLASSES)}
    said = sentence(test=test, positive=None, controls=controls)
    assert "29 of 35 found; plain linear probe right in 88; test part opened once." in said


def test_with_several_classes_the_answer_names_the_worst() -> None:
    test = with_wilson({"accuracy": 88 / 105}, CLASSES)
    assert sentence(test=test, positive=None) == (
        "Right in 88 of 105 (accuracy .84, .76 to .90); worst class healthy: 29 of 35 found; "
        "test part opened once."
    )


def test_a_demo_says_so_first() -> None:
    assert sentence(demo=True).startswith("DEMO, SYNTHETIC IMAGES: Missed 1 of 50")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test": None}, "Best of 16 trials so far is trial 3"),
        ({"test": None, "best": None, "trials": 1}, "None of 1 trial could be finished"),
        ({"opened": 2}, "; test part opened twice."),
        ({"test": None, "opened": 1}, "which was opened once for another trial."),
        ({"interrupted": True}, "--resume goes on with it."),
        ({"test": with_wilson({"recall": 0.98}, BINARY | {"fp": 1})}, "; 1 false alarm in 47"),
    ],
)
def test_what_is_missing_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in sentence(**changes)


def test_one_miss_is_never_called_perfect() -> None:
    counts = {"tp": 999, "fp": 0, "fn": 1, "tn": 1}
    assert "recall .999," in sentence(test=with_wilson({"recall": 0.999}, counts))


# --------------------------------------------------------------------------------------------------
# Intervals


def test_every_metric_has_its_ends_and_what_is_not_finite_is_null() -> None:
    ends = {"recall": (0.9, 1.0), "auroc": (math.nan, math.nan)}
    test = with_intervals({"recall": 0.98, "auroc": math.nan}, ends, BINARY)
    assert test["recall"] == {"value": 0.98, "low": 0.9, "high": 1.0}
    assert test["auroc"] == {"value": None, "low": None, "high": None}
    assert test["confusion"] == BINARY


# --------------------------------------------------------------------------------------------------
# result.json


KEYS = {
    "name", "answer", "demo", "seed", "objective", "trials", "interrupted", "marks", "best",
    "threshold", "val", "test", "gap", "opened", "ledger", "controls", "experiments",
    "finalists", "ensemble", "front", "data", "seconds", "counters",
}  # fmt: skip


def built(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "pneumonia", "demo": False, "seed": 7, "positive": "PNEUMONIA",
        "objective": Objective("recall_weighted", threshold=TargetRecall(0.95)),
        "rows": [row(0), row(1, "pruned"), row(2, "infeasible"), row(3, "waiting", value=None)],
    }  # fmt: skip
    return build_result(**(values | changes))


def test_result_has_exactly_the_keys_of_the_design() -> None:
    full = built(best=row(0), test=with_wilson({"recall": 0.98}, BINARY), seconds={"total": 9.0})
    for result in (built(), full):
        assert set(result) == KEYS
        assert result["controls"] is result["ensemble"] is result["front"] is None
        assert result["finalists"] is result["gap"] is result["ledger"] is None
        assert set(result["seconds"]) == {"total", "decode", "prefix", "training", "overhead"}
        assert set(result["counters"]) == {"images_decoded", "prefix_forwards", "prefix_hits"}
        json.dumps(result, allow_nan=False)


def test_trials_are_counted_by_state() -> None:
    assert built()["trials"] == {
        "complete": 1, "pruned": 1, "failed": 0, "infeasible": 1, "waiting": 1,
    }  # fmt: skip
    assert "None of 3 trials" in built()["answer"]


def test_training_is_the_sum_over_trials() -> None:
    assert built()["seconds"]["training"] == 13.0
    assert built(seconds={"training": 5.0})["seconds"]["training"] == 5.0


def test_the_winner_is_told_with_its_score() -> None:
    best = built(best=row(0, name="known one"))["best"]
    assert best["name"] == "known one"
    assert best["epoch"] == 2
    assert best["val"] == {"search_score": 0.8, "recall": 0.9}


def test_the_winner_has_its_skill_where_the_best_constant_is_known() -> None:
    best = built(best=row(0), constant=0.6)["best"]
    assert (best["skill"], best["constant"], best["chosen_by"]) == (0.5, 0.6, "validation")
    assert built(best=row(0))["best"]["skill"] is None
    assert built(best=row(0), constant=1.0)["best"]["skill"] == 0.0


def test_the_ensemble_is_told_in_words() -> None:
    difference = {"metric": "recall_weighted", "value": -0.02, "low": -0.05, "high": 0.01}
    ensemble = with_wilson({}, BINARY | {"fn": 0, "tp": 50}) | {
        "trials": [3, 1, 7],
        "difference": difference | {"better": 0.1, "beaten": False},
    }
    said = built(best=row(3), ensemble=ensemble)["ensemble"]["said"]
    assert said == (
        "The three together (trials 3, 1, 7): missed 0 of 50 PNEUMONIA; 4 false alarms in 50 "
        "others; not shown to be better than the winner (the winner's recall weighted less theirs "
        "-.02, -.05 to +.01)."
    )
    for low, high, verdict in ((-0.05, -0.01, "; better than"), (0.01, 0.05, "; worse than")):
        ends = {"low": low, "high": high, "beaten": low > 0}
        other = ensemble | {"difference": ensemble["difference"] | ends}
        assert verdict in built(ensemble=other)["ensemble"]["said"]


def test_what_is_not_finite_becomes_null() -> None:
    result = built(best=row(0, val={"auroc": math.nan}))
    assert result["best"]["val"]["auroc"] is None


def test_an_unknown_counter_is_refused() -> None:
    with pytest.raises(ValueError, match="prefix_forward"):
        built(counters={"prefix_forward": 1})


# --------------------------------------------------------------------------------------------------
# trials.csv


def test_every_trial_is_a_row_and_every_hyperparameter_a_column() -> None:
    rows = [
        row(1, "pruned", params={"model": "resnet18", "unfreeze_depth": 2}),
        row(0, name="three, convolutions", val={"recall": 0.9, "auroc": 0.8}),
    ]
    table = list(csv.DictReader(io.StringIO(trials_csv(rows, ["model", "lr", "unfreeze_depth"]))))
    assert list(table[0]) == [
        *FIXED, "val/recall", "val/auroc", "model", "lr", "unfreeze_depth",
    ]  # fmt: skip
    assert [line["number"] for line in table] == ["0", "1"]
    assert table[0]["name"] == "three, convolutions"
    assert (table[0]["epochs"], table[0]["best_epoch"]) == ("2", "2")
    assert (table[1]["lr"], table[1]["unfreeze_depth"]) == ("", "2")
    assert (table[1]["state"], table[1]["ended"]) == ("pruned", "all epochs")


def test_a_trials_skill_stands_beside_its_score() -> None:
    text = trials_csv([row(0), row(1, "failed", value=None)], constant=0.6)
    assert text.splitlines()[0].startswith("number,name,state,value,skill,")
    assert [read.skill for read in read_trials_csv(text)] == [0.5, None]


def test_a_file_from_before_there_was_skill_is_read() -> None:
    lines = trials_csv([row(0)], constant=0.6).splitlines()
    at = lines[0].split(",").index("skill")
    old = ["".join(f"{c}," for i, c in enumerate(line.split(",")) if i != at) for line in lines]
    (read,) = read_trials_csv("\n".join(line[:-1] for line in old) + "\n")
    assert (read.value, read.skill) == (0.8, None)


def test_what_was_written_is_read_back() -> None:
    params = {"lr": 3e-4, "dense": None, "nesterov": True, "name": "mine", "val/x": 1, "name2": "é"}
    first = row(0, params=params)
    bare = row(1, "failed", value=None, scores={}, best_epoch=None, val={}, params={}, ended="a\nb")
    read = read_trials_csv(trials_csv([first, bare]))
    assert read[0].params == {
        "lr": 3e-4, "dense": "None", "nesterov": "True", "name": "mine", "val/x": 1.0, "name2": "é",
    }  # fmt: skip
    assert read[0].val == {"recall": 0.9}
    assert (read[1].value, read[1].best_epoch, read[1].epochs) == (None, None, 0)
    assert read[1].ended == "a\nb"


def test_no_trials_make_a_file_with_a_heading() -> None:
    assert trials_csv([], ["lr"]).splitlines() == [",".join([*FIXED, "lr"])]
    assert read_trials_csv(trials_csv([])) == []
