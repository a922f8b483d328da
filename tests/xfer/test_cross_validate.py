"""Cross-validation: images are answered by models that have not seen them; a kill loses none."""

from dataclasses import replace

import numpy as np
import pytest

from tests.xfer.tiny_data import CPU, OBJECTIVE, tiny_data, tiny_recipe
from xfer.cross_validate import cross_validate, read_out_of_fold
from xfer.data.folds import cut_folds
from xfer.errors import ModelFileError
from xfer.evaluate.answers import unsaturated
from xfer.evaluate.jackknife import leave_out_scores
from xfer.evaluate.objectives import search_score
from xfer.folds_result import FoldsResult
from xfer.recipe import Objective

DATA = tiny_data(train=36, val=12)
FOLDS = cut_folds(
    np.arange(48), labels=DATA.labels, patients=[str(i) for i in range(48)], folds=3, seed=0
)


def validated(folder, recipe=None, **given):
    arguments = {"data": DATA, "folds": FOLDS, "objective": OBJECTIVE, "seed": 5} | given
    return cross_validate(recipe or tiny_recipe(), checkpoint=folder, device=CPU, **arguments)


def is_fold(result):
    return isinstance(result, FoldsResult)


def results(folder, *given, **named):
    return [r.to_dict() for r in validated(folder, *given, **named) if is_fold(r)]


def timeless(told):
    return [{**result, "seconds": None} for result in told]


def test_a_result_after_each_fold_is_the_mean_so_far(tmp_path):
    told = list(validated(tmp_path))
    epochs = tiny_recipe().epochs
    assert [is_fold(result) for result in told] == ([False] * epochs + [True]) * 3
    found = [result for result in told if is_fold(result)]
    assert [result.epoch for result in found] == [1, 2, 3]
    for number, result in enumerate(found, start=1):
        assert result.scores == found[-1].scores[:number]
        assert result.search_score == pytest.approx(np.mean(result.scores))
        assert all(1 <= epoch <= epochs for epoch in result.epochs)


def test_answers_out_of_fold_are_those_the_scores_were_made_of(tmp_path):
    last = results(tmp_path)[-1]
    answers = read_out_of_fold(tmp_path, 3)
    assert sorted(answers.rows.tolist()) == list(range(48))
    assert np.array_equal(answers.labels, DATA.labels[answers.rows])
    for fold, score, left_out in zip(FOLDS, last["scores"], last["left_out"], strict=True):
        here = np.isin(answers.rows, fold.val)
        values, labels = unsaturated(answers.logits[here]), answers.labels[here]
        found, threshold = search_score(OBJECTIVE, values, labels)
        assert found == score
        patients = [DATA.patients[row] for row in answers.rows[here]]
        again = leave_out_scores(OBJECTIVE, values, labels, patients, threshold=threshold)
        assert again.tolist() == left_out


def test_no_label_of_a_fold_reaches_the_model_that_is_scored_on_it(tmp_path):
    results(tmp_path / "a", folds=FOLDS[:1])
    labels = DATA.labels.copy()
    labels[FOLDS[0].val] = 1 - labels[FOLDS[0].val]
    results(tmp_path / "b", folds=FOLDS[:1], data=replace(DATA, labels=labels))
    one, other = (read_out_of_fold(tmp_path / name, 1) for name in "ab")
    assert np.array_equal(one.logits, other.logits)
    assert not np.array_equal(one.labels, other.labels)


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 9])
def test_one_that_was_stopped_goes_on_as_if_nothing_had_been(tmp_path, steps):
    whole = results(tmp_path / "whole")
    begun = validated(tmp_path / "cut")
    for _ in range(steps):
        next(begun)
    begun.close()
    assert timeless(results(tmp_path / "cut")) == timeless(whole)


def test_what_is_finished_is_told_again_without_training(tmp_path):
    whole = results(tmp_path)
    told = list(validated(tmp_path))
    assert all(map(is_fold, told))
    assert [result.to_dict() for result in told] == whole


def test_answers_of_another_run_are_refused(tmp_path):
    results(tmp_path, folds=FOLDS[:1])
    with pytest.raises(ModelFileError, match="belongs to another run"):
        results(tmp_path, tiny_recipe(lr=1e-3))


def test_a_finished_fold_leaves_no_model_behind(tmp_path):
    results(tmp_path, folds=FOLDS[:1])
    assert [path.name for path in sorted(tmp_path.rglob("*.safetensors"))] == ["scored.safetensors"]


def test_several_classes_have_no_threshold(tmp_path):
    data = tiny_data(train=36, val=12, classes=3, size=18)
    folds = cut_folds(
        np.arange(48), labels=data.labels, patients=[str(i) for i in range(48)], folds=2, seed=0
    )
    last = results(tmp_path, data=data, folds=folds, objective=Objective("balanced_accuracy"))[-1]
    assert last["threshold"] is None
    assert "recall/class2" in last["val"]
