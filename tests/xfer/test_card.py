"""The model card says first what a reader has to know first."""

from typing import Any

import pytest

from xfer.card import model_card
from xfer.card_numbers import Notes
from xfer.evaluate.subgroups import measure_subgroups
from xfer.recipe import ConvNet, Recipe

VAL = {"recall": {"value": 0.95, "low": 0.9, "high": 0.98}}
TEST = {"recall": {"value": 0.9, "low": 0.85, "high": 0.95}}
LEAKS = "Splits are kept as they are, leaks included."


def card(**changes: Any) -> str:
    values: dict[str, Any] = {
        "data": "chest", "size": 64, "fit": "squash", "classes": ("well", "sick"),
        "positive": "sick", "counts": {"test": {"well": 5, "sick": 5}}, "said": "It decides.",
        "calibration": None, "metrics": {"val": VAL, "test": TEST}, "about": {}, "demo": False,
    }  # fmt: skip
    return model_card(Recipe(model=ConvNet(kernels=(8,)), lr=0.1), **(values | changes))


@pytest.mark.parametrize("demo", [False, True])
def test_marks_stand_above_all_sections(demo: bool) -> None:
    text = card(notes=Notes(marks=(LEAKS, "Opened twice.")), demo=demo)
    assert f"* {LEAKS}\n* Opened twice.\n" in text[: text.index("## Intended use")]
    assert ("DEMO" in text[: text.index(LEAKS)]) is demo


def test_without_marks_the_first_section_comes_first() -> None:
    assert card().startswith("# A model that finds sick\n\n## Intended use")


def test_validation_is_set_against_test_with_what_makes_it_too_good() -> None:
    text = card(notes=Notes(caution="Nobody knows the patients."))
    assert "`val` less `test`: recall +0.050 (-0.02 to +0.11). Nobody knows the patients." in text
    only = card(metrics={"val": VAL}, notes=Notes(caution="Nobody knows the patients."))
    assert "less `test`" not in only
    assert "Nobody knows the patients." in only
    assert "Nobody knows" not in card(metrics={"test": TEST}, notes=Notes(caution="Nobody knows."))


@pytest.mark.parametrize(("opened", "said"), [(1, "opened once for"), (3, "opened 3 times for")])
def test_it_is_said_how_often_test_was_opened(opened: int, said: str) -> None:
    assert f"The test part was {said} this run." in card(notes=Notes(opened=opened))
    assert "The test part was" not in card()


def test_subgroups_are_a_table_and_the_worse_one_is_named() -> None:
    called = [i % 2 if i < 40 else 1 for i in range(80)]
    patients = [f"p{i}" for i in range(80)]
    names = ["virus"] * 40 + ["bacteria"] * 40
    found = measure_subgroups(called, [1] * 80, patients, names, binary=True)
    text = card(metrics={"val": VAL, "test": TEST | {"subgroups": found}})
    section = text[text.index("## Subgroups") : text.index("## Probabilities")]
    assert "| virus | 40 | 40 | 40 | 0.500 (0.35 to 0.65) | – |" in section
    assert "Shown to be worse than the others by recall: virus." in section
    assert "## Subgroups" not in card()


def test_numbers_out_of_fold_are_called_what_they_are() -> None:
    text = card(metrics={"folds": VAL, "test": TEST})
    assert "`folds` less `test`: recall +0.050" in text
    assert "not measured on images that had no part" in card(metrics={"folds": VAL})
