"""Known configurations as experiments: all trained to their end, all tested, none altered."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import result_of, run

from search.check.inspection import inspect
from search.errors import OptionsError, TrialsError
from search.known_tests import experiments_told, published_told, refuse_unfinished
from search.options import parse
from search.plan import Plan, make_plan
from search.space import Published, load_space
from search.studied import differences, heads, rows
from search.tested import read_tested
from search.trials import TrialRow

STUDY = '''\
"""A study of two networks, one of which bursts."""
from search.space import Budget, Published, Trial
from xfer.recipe import ConvNet, Images, Objective, Pretrained, Recipe

DATA = Images("builtin:digits", positive="8", size=16, channels=1)
OBJECTIVE = Objective("balanced_accuracy")
BUDGET = Budget(minutes=0.01, trials=20, epochs=3)
KNOWN = {
    "Z2": {"model": "convnet", "kernels": 8, "lr": 1e-2, "share": 1.0},
    "Z1": {"model": "convnet", "kernels": 16, "lr": 1e-2, "share": 0.5},
    "Y": {"model": "inception_v3", "lr": 1e-2, "share": 1.0},
}
PUBLISHED = {
    "Z2": Published(matrix=((80, 5), (3, 12)), differs="Its digits are others."),
    "Z1": Published(accuracy=(0.6, 0.7)),
    "Y": Published(accuracy=0.9),
}


def space(trial: Trial) -> Recipe:
    name = trial.suggest_categorical("model", ["convnet", "inception_v3", "mobilenet_v2"])
    if name == "convnet":
        model = ConvNet(kernels=(trial.suggest_int("kernels", 8, 16, step=8),))
    else:
        model = Pretrained(name)
    return Recipe(
        model=model,
        lr=trial.suggest_float("lr", 1e-3, 1e-1, log=True),
        train_share=trial.suggest_categorical("share", [1.0, 0.5]),
    )
'''


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "study.py"
    file.write_text(STUDY)
    return file


def planned(file: Path, *flags: str) -> Plan:
    return make_plan(load_space(file), parse([str(file), *flags]))


def test_they_are_trained_to_their_end_and_nothing_else_is(study: Path) -> None:
    plan = planned(study, "--known-only")
    assert (plan.budget.minutes, plan.budget.trials, plan.refits, plan.keep) == (None, 3, 0, 3)
    asked = planned(study, "--known-only", "--minutes", "5", "--refits", "2")
    assert (asked.budget.minutes, asked.refits) == (5, 2)
    search = planned(study)
    assert (search.budget.minutes, search.refits) == (0.01, 3)


def test_a_pattern_names_several(study: Path) -> None:
    assert list(planned(study, "--known", "Z*").known) == ["Z2", "Z1"]
    with pytest.raises(OptionsError, match=r"--known 'X\*' is no known configuration"):
        planned(study, "--known", "X*")


def test_a_stand_in_is_in_the_name_and_beside_the_published_number(study: Path) -> None:
    plan = planned(study, "--stand-in", "inception_v3=mobilenet_v2")
    assert list(plan.known) == ["Z2", "Z1", "Y with mobilenet_v2"]
    assert plan.known["Y with mobilenet_v2"]["model"] == "mobilenet_v2"
    published = plan.published["Y with mobilenet_v2"]
    assert published.accuracy == 0.9
    assert published.differs == "mobilenet_v2 stands in for inception_v3."
    assert plan.published["Z2"].differs == "Its digits are others."


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["inception_v3=resnet18"], "'model' of KNOWN['Y'] is a choice of convnet, inception_v3"),
        (["vgg16=mobilenet_v2"], "no known configuration that is run has the model vgg16"),
        (["inception_v3=convnet", "inception_v3=mobilenet_v2"], "is given two models"),
    ],
)
def test_a_stand_in_that_cannot_be_is_refused(study: Path, flags: list[str], text: str) -> None:
    with pytest.raises(OptionsError) as caught:
        planned(study, *(word for flag in flags for word in ("--stand-in", flag)))
    assert text in str(caught.value)


def test_what_would_train_other_configurations_is_refused(study: Path) -> None:
    with pytest.raises(OptionsError, match="--weights none would train others"):
        planned(study, "--known-only", "--weights", "none")
    with pytest.raises(OptionsError, match="--known-only and --folds exclude each other"):
        parse([str(study), "--known-only", "--folds", "3"])


def test_what_is_trained_otherwise_is_said(study: Path) -> None:
    assert planned(study, "--known-only").altered is None
    smaller = planned(study, "--known-only", "--image-size", "8", "--epochs", "1")
    assert smaller.altered == (
        "Not trained as the space says: at 8 pixels a side, not 16, for 1 epoch at most."
    )
    assert planned(study, "--image-size", "8").altered is None


def test_of_another_class_or_of_phantoms_nothing_was_published(study: Path) -> None:
    other = planned(study, "--positive", "7")
    assert other.published == {}
    assert any("positive class '8': left out" in note for note in other.notes)
    assert planned(study, "--demo").published == {}


def test_only_what_they_need_is_asked_for(study: Path) -> None:
    """Inception takes no 16 pixels: no matter, where it is not trained."""
    names = ("--known", "Z*")
    assert any("inception_v3" in p for p in inspect(planned(study, *names)).checked.problems)
    checked = inspect(planned(study, *names, "--known-only")).checked
    assert (checked.problems, checked.backbones) == ((), ())
    assert len(checked.recipes) == checked.known == 2


def test_a_test_part_that_is_given_has_no_other_share(study: Path) -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    file = study.parent / "given.npz"
    parts = {"train": slice(0, 1000), "val": slice(1000, 1300), "test": slice(1300, None)}
    np.savez(
        file,
        **{f"{p}_images": images[s].reshape(-1, 8, 8).astype(np.uint8) for p, s in parts.items()},
        **{f"{p}_labels": labels[s].reshape(-1, 1) for p, s in parts.items()},
    )
    flags = ("--known", "Z*", "--known-only", "--data", str(file), "--test-share", "0.4")
    [problem] = inspect(planned(study, *flags)).checked.problems
    assert problem.startswith("--test-share is of a test part that is cut, and these images come")
    anew = inspect(planned(study, *flags, "--resplit"))
    assert anew.checked.problems == ()
    assert anew.splits is not None
    assert len(anew.splits.test) / len(images) == pytest.approx(0.4, abs=0.01)


def trial(number: int, name: str, state: str = "complete", ended: str = "") -> TrialRow:
    recipe = {"model": name}
    return TrialRow(
        number=number, name=name, state=state, value=0.5, params={}, recipe=recipe,  # type: ignore[arg-type]
        scores={1: 0.5}, best_epoch=1, seconds=2.0, ended=ended,
    )  # fmt: skip


def test_the_table_has_every_experiment_in_the_order_of_the_space(study: Path) -> None:
    plan = planned(study, "--known-only")
    ran = [trial(1, "Z1"), trial(0, "Z2"), trial(2, "Y", "infeasible", "out of memory")]
    numbers = {"value": 0.9, "low": 0.8, "high": 0.95}
    test = {"accuracy": numbers, "recall": numbers, "confusion": {"tp": 1}}
    found = experiments_told(
        plan, ran, {"0": test, "1": {"untested": "its answers are not numbers"}},
        trained=lambda _: 1234,
    )  # fmt: skip
    assert found is not None
    assert [one["name"] for one in found] == ["Z2", "Z1", "Y"]
    assert heads(found)[:3] == ["experiment", "accuracy", "recall"]
    assert rows(found, ends=False) == [
        ["Z2", ".90", ".90", ".92", ".80", ".71", "1,234"],
        ["Z1", "its answers are not numbers", "", ".60 to .70", "–", "–", "1,234"],
        ["Y", "infeasible: out of memory", "", ".90", "–", "–", "1,234"],
    ]
    assert differences(found) == ["Z2: Its digits are others."]
    assert found[0]["recipe"] != found[1]["recipe"]
    assert experiments_told(planned(study), ran, {}, trained=lambda _: 1) is None


def test_published_shares_come_from_the_matrix() -> None:
    told = published_told(Published(matrix=((216, 22), (9, 632)), recall=0.5))
    assert told["recall"]["value"] == pytest.approx(0.9860, abs=5e-5)
    assert told["precision"]["value"] == pytest.approx(0.9664, abs=5e-5)
    assert told["recall"]["low"] < 0.98 < told["recall"]["high"]
    assert told["matrix"] == [[216, 22], [9, 632]]


def test_the_test_part_stays_closed_while_one_waits(study: Path) -> None:
    plan = planned(study, "--known-only", "--minutes", "1")
    refuse_unfinished([trial(0, "Z2"), trial(1, "Z1", "infeasible")], plan, name="study")
    with pytest.raises(TrialsError, match=r"1 of 3 .* \(Y\)"):
        refuse_unfinished([trial(0, "Z2"), trial(2, "Y", "waiting")], plan, name="study")


@pytest.mark.slow
def test_a_study_is_run_and_its_answers_are_kept(study: Path, tmp_path: Path) -> None:
    flags = ("--known", "Z*", "--known-only", "--workers", "1", "--name", "s")
    said = run(tmp_path, str(study), *flags, "--minutes", "0.001", code=1)
    assert "the test part stays closed" in said
    folder = tmp_path / "runs" / "s"
    assert not (folder / "tested.npz").exists()
    assert result_of(folder)["experiments"][1]["test"] is None
    said = run(tmp_path, str(study), "--name", "s", "--resume", "--minutes", "10")
    result = result_of(folder)
    assert "study's accuracy" in said
    assert [(one["name"], one["state"]) for one in result["experiments"]] == [
        ("Z2", "complete"), ("Z1", "complete"),
    ]  # fmt: skip
    assert any("2 experiments were scored" in mark for mark in result["marks"])
    tested = read_tested(folder / "tested.npz")
    assert tested.names == ("winner", "Z2", "Z1")
    assert tested.numbers[0] == result["best"]["number"]
    for name, one in zip(("Z2", "Z1"), result["experiments"], strict=True):
        answers = tested.probabilities[tested.names.index(name), :, 1] >= 0.5
        counts = one["test"]["confusion"]
        assert int((answers & (tested.labels == 1)).sum()) == counts["tp"]
        assert int((answers & (tested.labels == 0)).sum()) == counts["fp"]
    shipped = tested.probabilities[0, :, 1] >= tested.thresholds[0]
    assert int((shipped & (tested.labels == 1)).sum()) == result["test"]["confusion"]["tp"]
    [opening] = json.loads((folder / "test_opened.json").read_text())
    assert set(opening["experiments"]) == {"0", "1"}
    assert "The experiments" in (folder / "report.html").read_text()
