"""Does the command set side by side what can be, and refuse what cannot?"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_runs import answers, labels_of, write_run

from search.compare.__main__ import compared, main
from search.compare.comparison import Comparison, Line
from search.known_tests import published_told
from search.space import Published
from xfer.evaluate.bootstrap import intervals
from xfer.evaluate.independent import apart
from xfer.evaluate.intervals import wilson
from xfer.evaluate.resampled import resample_binary

LABELS = labels_of(300)
HARD = np.random.default_rng(9).normal(size=300)
A1 = {
    "published": published_told(Published(matrix=((216, 22), (9, 632)))),
    "differs": "size 256 in place of 255.",
}


def given(seed: int = 0, **accuracies: float) -> dict[str, np.ndarray]:
    return {
        name: answers(LABELS, accuracy, 100 * seed + i, hard=HARD)
        for i, (name, accuracy) in enumerate(accuracies.items())
    }


def at(comparison: Comparison, name: str) -> Line:
    (line,) = (line for line in comparison.lines if line.contender.name == name)
    return line


def compare(*folders: Path, metric: str = "accuracy", against: str | None = None) -> Comparison:
    return compared([str(f) for f in folders], metric=metric, against=against, draws=500)[0]


def said(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    assert main([str(word) for word in words]) == code
    out = capsys.readouterr()
    assert bool(out.err) is (code != 0)
    assert "Traceback" not in out.err
    return out.out + out.err


# --------------------------------------------------------------------------------------------------
# Rows


def test_rows_are_experiments_in_the_order_of_the_first_run_then_winners(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", given(E9=0.9, E10=0.85, E1=0.7))
    two = write_run(tmp_path / "two", given(1, E2=0.8, E1=0.7, E9=0.9), seed=1)
    search = write_run(tmp_path / "mine", given(2, x=0.95), search=True)
    found = compare(search, one, two)
    names = [line.contender.name for line in found.lines]
    assert names == ["E9", "E10", "E1", "E2", "winner of mine"]
    assert [len(line.contender.trainings) for line in found.lines] == [2, 1, 2, 1, 1]
    assert found.reference.name == "E9"


def test_a_row_is_the_mean_over_runs_with_the_lowest_and_the_highest(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"r{s}", given(s, A=accuracy, B=0.7), seed=s)
        for s, accuracy in enumerate((0.9, 0.86, 0.94))
    ]
    line = at(compare(*runs), "A")
    assert line.value == pytest.approx(0.9)
    assert (line.lowest, line.highest) == pytest.approx((0.86, 0.94))
    assert line.low is not None
    assert line.high is not None
    assert line.low < 0.86
    assert line.high > 0.93


def test_the_interval_of_one_run_is_the_one_of_its_report(tmp_path: Path) -> None:
    patients = [f"p{i // 3}" for i in range(300)]
    run = write_run(tmp_path / "one", given(A=0.9), patients=patients)
    scores = answers(LABELS, 0.9, 0, hard=HARD)[:, 1]
    report = intervals(resample_binary(scores, LABELS, patients, threshold=0.5))
    for metric in ("accuracy", "specificity"):
        line = at(compare(run, metric=metric), "A")
        assert (line.low, line.high) == pytest.approx(report[metric])
    line = at(compare(run, metric="auroc"), "A")  # 500 draws of other patients
    assert (line.low, line.high) == pytest.approx(report["auroc"], abs=0.01)


def test_answers_are_put_in_order_whatever_that_of_the_files(tmp_path: Path) -> None:
    mixed = np.random.default_rng(0).permutation(300)
    names = [f"image {i:05}" for i in range(300)]
    one = write_run(tmp_path / "one", given(A=0.9, B=0.8))
    two = write_run(
        tmp_path / "two",
        {name: each[mixed] for name, each in given(A=0.9, B=0.8).items()},
        labels=LABELS[mixed], images=[names[i] for i in mixed], seed=1,
        patients=[f"somebody {i}" for i in mixed],
    )  # fmt: skip
    apart, together = compare(one), compare(one, two)
    assert at(together, "B").paired
    assert at(together, "B").value == at(apart, "B").value


def test_the_winner_decides_at_its_own_threshold(tmp_path: Path) -> None:
    probabilities = np.array([[0.6, 0.4]] * 150 + [[0.65, 0.35]] * 150)[::-1]
    run = write_run(
        tmp_path / "mine", {"x": probabilities}, search=True, threshold=0.4, winner=probabilities
    )
    assert compare(run, metric="recall").lines[0].value == 1.0
    known = write_run(tmp_path / "known", {"x": probabilities})
    assert compare(known, metric="recall").lines[0].value == 0.0


def test_a_better_experiment_is_found_and_an_equal_one_is_not(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"r{s}", given(s, base=0.8, same=0.8, good=0.95, bad=0.65), seed=s)
        for s in range(3)
    ]
    for folders in (runs, runs[:1]):
        found = compare(*folders)
        verdicts = [line.verdict for line in found.lines]
        assert verdicts == [None, "cannot be told apart", "better", "worse"]
    against = compare(*runs, against="good")
    assert [line.verdict for line in against.lines] == ["worse", "worse", None, "worse"]


def test_more_rows_make_wider_intervals(tmp_path: Path) -> None:
    few = compare(write_run(tmp_path / "few", given(A=0.9, B=0.85)))
    more = {f"C{i}": 0.8 for i in range(8)}
    many = compare(write_run(tmp_path / "many", given(A=0.9, B=0.85, **more)))
    assert few.confidence == pytest.approx(0.95)
    assert many.confidence == pytest.approx(1 - 0.05 / 9)
    narrow, wide = at(few, "B").difference, at(many, "B").difference
    assert narrow is not None
    assert wide is not None
    assert narrow.value == wide.value
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def test_other_images_are_not_paired_and_rows_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write_run(tmp_path / "one", given(A=0.9, B=0.8))
    images = [f"other {i}" for i in range(300)]
    two = write_run(tmp_path / "two", given(A=0.9, C=0.8), images=images, seed=1)
    found = compare(one, two)
    names = [line.contender.name for line in found.lines]
    assert names == ["A of one", "A of two", "B", "C"]
    assert [line.paired for line in found.lines] == [True, False, True, False]
    alone = at(compare(one, two, against="B"), "C").difference
    confidence = 1 - 0.05 / 3
    ends = (0.8, *wilson(240, 300, confidence=confidence))
    assert alone == apart(ends, ends)
    text = said(capsys, one, two)
    assert "A of two, C: other test images than those of A of one" in text
    assert "A of one, A of two are rows of their own: they differ in test images." in text
    assert "Other differences are paired" in text


def test_other_settings_are_other_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_run(tmp_path / "one", given(A=0.9))
    plan = {"data": {"path": "/elsewhere", "size": 128}, "options": {"folds": None}}
    two = write_run(
        tmp_path / "two", given(1, A=0.9), manifest={"plan": plan}, seed=0,
        entries={"A": {"recipe": "another"}},
    )  # fmt: skip
    text = said(capsys, one, two)
    assert "they differ in recipe, way of decoding." in text
    assert "A of two" in text


def test_the_same_images_elsewhere_are_the_same_row(tmp_path: Path) -> None:
    plan = {"data": {"path": "/elsewhere", "size": 224}, "options": {"folds": None}}
    one = write_run(tmp_path / "one", given(A=0.9))
    two = write_run(tmp_path / "two", given(1, A=0.9), manifest={"plan": plan}, seed=1)
    three = write_run(
        tmp_path / "three", given(2, B=0.9), seed=2,
        entries={"A": {"state": "waiting", "ended": "", "recipe": None}},
    )  # fmt: skip
    found = compare(one, two, three)
    assert [line.contender.name for line in found.lines] == ["A", "B"]
    assert len(found.lines[0].contender.trainings) == 2


def test_several_classes_are_compared_by_the_most_probable(tmp_path: Path) -> None:
    labels = np.arange(120) % 3
    runs = [
        write_run(
            tmp_path / f"r{s}",
            {"A": answers(labels, 0.9, s, classes=3), "B": answers(labels, 0.6, 9 + s, classes=3)},
            labels=labels, classes=("a", "b", "c"), binary=False, seed=s,
        )
        for s in range(2)
    ]  # fmt: skip
    for metric in ("accuracy", "balanced_accuracy", "auroc"):
        assert at(compare(*runs, metric=metric), "B").verdict == "worse"
    assert at(compare(*runs), "A").value == pytest.approx(0.9)


def test_what_was_not_finished_has_a_row_and_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = {
        "E8": {"state": "infeasible", "ended": "out of memory", "trained": 134_260_544},
        "E7": {"untested": "its checkpoint is gone."},
    }
    runs = [
        write_run(tmp_path / f"r{s}", given(s, A=0.9, B=0.8), entries=lost, seed=s)
        for s in range(2)
    ]
    text = said(capsys, *runs)
    assert "E8 has no answers in r0, r1 (infeasible: out of memory)." in text
    assert "E7 has no answers in r0, r1 (its checkpoint is gone)." in text
    assert "134,260,544" in text
    refused = said(capsys, *runs, "--against", "E8", code=2)
    assert "--against 'E8' was finished in no run: choose another row" in refused


# --------------------------------------------------------------------------------------------------
# Published


def test_the_studys_number_stands_beside_with_its_interval_and_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"published": published_told(Published(accuracy=(0.6, 0.7)))}
    run = write_run(tmp_path / "one", given(A1=0.9, B=0.7), entries={"A1": A1, "B": other})
    line = at(compare(run), "A1")
    assert line.reported is not None
    assert line.reported.value == 848 / 879
    assert (line.reported.low, line.reported.high) == wilson(848, 879)
    ours = (line.value, line.low, line.high)
    assert line.less_reported == apart(ours, (848 / 879, *wilson(848, 879)))  # type: ignore[arg-type]
    text = said(capsys, run)
    assert ".600 to .700" in text
    assert "so there is no verdict" in text
    assert "Otherwise than the study's (A1): size 256 in place of 255." in text


@pytest.mark.parametrize(
    ("metric", "value", "has_interval"),
    [
        ("recall", 632 / 641, True),
        ("specificity", 216 / 238, True),
        ("precision", 632 / 654, True),
        ("balanced_accuracy", (632 / 641 + 216 / 238) / 2, True),
        ("f1", 2 * 632 / (2 * 632 + 31), False),
        ("mcc", 0.909, False),
    ],
)
def test_other_metrics_follow_from_the_matrix(
    tmp_path: Path, metric: str, value: float, has_interval: bool
) -> None:
    run = write_run(tmp_path / "one", given(A1=0.9), entries={"A1": A1})
    line = compare(run, metric=metric).lines[0]
    assert line.reported is not None
    assert line.reported.value == pytest.approx(value, abs=0.001)
    assert (line.less_reported is not None) is has_interval
    assert compare(run, metric="auroc").lines[0].reported is None


def test_a_number_without_a_matrix_has_no_interval(tmp_path: Path) -> None:
    told = {"published": published_told(Published(accuracy=0.9295))}
    line = compare(write_run(tmp_path / "one", given(A4=0.9), entries={"A4": told})).lines[0]
    assert line.reported is not None
    assert (line.reported.value, line.reported.low) == (0.9295, None)
    assert line.less_reported is None


# --------------------------------------------------------------------------------------------------
# What is printed


def test_plain_fits_100_columns_with_long_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "a configuration with average_pooling_and_everything_else [and brackets] that it needs"
    accuracies: dict[str, Any] = {"A1": 0.9, long: 0.89, "nospaces" * 12: 0.6}
    runs = [
        write_run(
            tmp_path / f"r{s}", given(s, **accuracies), seed=s,
            entries={"A1": A1 | {"trained": 134_260_544, "seconds": 40_000.0}},
        )
        for s in range(2)
    ]  # fmt: skip
    text = said(capsys, *runs)
    assert max(map(len, text.splitlines())) <= 100
    shown = re.sub(r"\s+", "", text)
    for part in ("134,260,544", "11:06:40", "[andbrackets]", "nospaces" * 2):
        assert part in shown
    assert " cannot be told" in text


def test_markdown_is_a_table_and_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        write_run(tmp_path / f"r{s}", given(s, **{"A|1": 0.95, "B": 0.7}), seed=s) for s in range(2)
    ]
    lines = said(capsys, *runs, "--markdown", "--metric", "balanced_accuracy").splitlines()
    assert lines[:2] == [
        "| experiment | n | balanced accuracy | lowest, highest | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    assert lines[2].startswith(r"| A\|1 | 2 | .950 (")
    assert lines[2].endswith(" | .950, .950 | reference |")
    assert re.fullmatch(
        r"\| B \| 2 \| \.700 \(.*\) \| .*, .* \| -\.250 \(-\.\d+ to -\.\d+\), worse \|", lines[3]
    )
    assert lines[4] == ""
    assert all(line.startswith("* ") for line in lines[5:])


def test_one_run_is_fine_and_one_training_is_called_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, write_run(tmp_path / "one", given(A=0.9)))
    assert "n = 1: one training is not a configuration." in text
    assert "lowest" not in text  # of one there is none
    assert "difference" not in text.lower()


def test_what_intervals_hold_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patients = [f"p{i // 3}" for i in range(300)]
    runs = [
        write_run(
            tmp_path / f"r{s}", given(s, A=0.9, B=0.8, C=0.8), patients=patients, seed=s,
            result={"opened": 2} if s else None,
        )
        for s in range(2)
    ]  # fmt: skip
    search = write_run(tmp_path / "mine", given(3, x=0.9), search=True, patients=patients)
    text = " ".join(said(capsys, *runs, search).split())
    for part in (
        "by patient: 300 test images of 100 patients.",
        "Differences are less A. 3 of them are told at once, so each interval is of 98.33 %",
        "The spread between trainings (seeds 0, 1) is in the intervals; 2 trainings know little",
        "n = 1 (winner of mine): one training is not a configuration.",
        "The winner of mine decides at the threshold it ships with, 0.3 on calibrated",
        "All differences are paired",
        "r1: its test part was opened 2 times.",
    ):
        assert part in text


def test_a_demo_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "one", given(A=0.9), result={"demo": True})
    for flags in ((), ("--markdown",)):
        text = said(capsys, run, *flags)
        assert "A (DEMO)" in text
        assert "DEMO, SYNTHETIC IMAGES: one show" in text


# --------------------------------------------------------------------------------------------------
# What is refused


def test_all_that_is_wrong_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_run(tmp_path / "good", given(A=0.9))
    bare = write_run(tmp_path / "old", given(A=0.9))
    (bare / "tested.npz").unlink()
    going = write_run(tmp_path / "going", given(A=0.9))
    (going / "result.json").unlink()
    ended = write_run(tmp_path / "ended", given(A=0.9), result={"interrupted": True})
    damaged = write_run(tmp_path / "damaged", given(A=0.9))
    (damaged / "tested.npz").write_bytes(b"PK")
    torn = write_run(tmp_path / "torn", given(A=0.9))
    (torn / "result.json").write_text("{")
    empty = tmp_path / "empty"
    empty.mkdir()
    text = said(
        capsys, good, good, tmp_path / "god", bare, going, ended, damaged, torn, empty,
        "--metric", "acuracy", "--against", "B", code=2,
    )  # fmt: skip
    for part in (
        "10 problems:",
        f"{good} is given twice; leave one out",
        f"there is no run {tmp_path / 'god'}; did you mean 'good'?",
        "tested.npz is missing: the run was made by an earlier version, or its test part was not",
        f"{going} is not finished; go on with it: python -m search.run spaces/beans.py "
        "--known-only --name going --resume",
        f"{ended} is not finished",
        "tested.npz is damaged",
        f"cannot read {torn / 'result.json'}",
        f"{empty} is no run's folder: it has no manifest.json",
        "--metric must be one of accuracy, recall,",
        "got 'acuracy'; did you mean 'accuracy'?",
        "--against must be one of 'A', got 'B'",
    ):
        assert part in text


def test_files_of_different_openings_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "one", given(A=0.9, B=0.8))
    result = json.loads((run / "result.json").read_text())
    result["experiments"] = result["experiments"][:1]
    (run / "result.json").write_text(json.dumps(result))
    text = said(capsys, run, code=2)
    assert "are of different openings of the test part; only one has 'B'" in text
    del result["seed"]
    (run / "result.json").write_text(json.dumps(result))
    assert "KeyError 'seed' in result.json or manifest.json" in said(capsys, run, code=2)


@pytest.mark.parametrize("now", [{"best": {"number": 7}}, {"test": None}, {"best": None}])
def test_a_winner_that_was_not_tested_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], now: dict[str, Any]
) -> None:
    run = write_run(tmp_path / "one", given(A=0.9), search=True, result=now)
    assert "--reopen-test scores the winner" in said(capsys, run, code=2)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"classes": ("sick", "well")}, "its classes are 'sick', 'well' with 'well' positive"),
        ({"binary": False}, "its classes are 'healthy', 'sick', and there classes are 'healthy'"),
        ({"labels": 1 - LABELS}, "the same test images, and other classes for 300 of them"),
        ({"patients": ["p"] * 300}, "the same test images, and other patients for them"),
        ({"seed": 0}, "'A' of one and of two are one training, with seed 0; leave one run out"),
    ],
)
def test_runs_that_cannot_be_set_side_by_side_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], part: str
) -> None:
    one = write_run(tmp_path / "one", given(A=0.9))
    two = write_run(tmp_path / "two", given(A=0.9), **{"seed": 1, **changes})
    assert part in said(capsys, one, two, code=2)


def test_a_metric_of_two_classes_is_refused_with_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "one", given(A=0.9), binary=False)
    text = said(capsys, run, "--metric", "recall", code=2)
    assert "--metric of several classes must be one of accuracy, balanced_accuracy, auroc" in text


def test_an_unknown_row_is_told_with_the_near_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "one", given(**{"three convolutions": 0.9, "B": 0.8}))
    text = said(capsys, run, "--against", "three convolution", code=2)
    assert (
        "--against must be one of 'three convolutions', 'B', got 'three convolution'; did you"
        in text
    )


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / place / "mine", given(s, x=0.9), search=True)
        for s, place in enumerate("ab")
    ]
    names = [line.contender.name for line in compare(*runs).lines]
    assert names == [f"winner of {run}" for run in runs]


def test_nothing_finished_is_nothing_to_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(
        tmp_path / "one", {}, winner=given(x=0.9)["x"], entries={"A": {"state": "failed"}}
    )
    assert "there is nothing to compare" in said(capsys, run, code=2)
