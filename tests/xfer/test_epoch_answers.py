"""What each epoch answered on validation is kept with the run, and survives what the run does."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from tiny_data import CPU, OBJECTIVE, run, tiny_data, tiny_recipe

from xfer.checkpoint import path_of, read_best
from xfer.epoch_answers import MOST_EPOCHS, with_epoch
from xfer.evaluate.answers import ranked
from xfer.evaluate.objectives import search_score
from xfer.tensorfile import read_file, write_file
from xfer.train import fit


def kept_of(scores):
    """What is kept after epochs with these scores; each answers with its number."""
    kept = {}
    history = []
    for epoch, score in enumerate(scores, start=1):
        history.append({"epoch": epoch, "search_score": score})
        kept = with_epoch(kept, np.full((3, 2), float(epoch)), history)
    return kept


def test_epochs_stay_in_their_order_and_of_many_the_best():
    rng = np.random.default_rng(0)
    for epochs in (1, MOST_EPOCHS, MOST_EPOCHS + 25):
        scores = rng.integers(0, 8, epochs) / 8
        kept = kept_of(scores)
        order = np.lexsort([np.arange(epochs), -scores])  # of equal ones the first
        expected = 1 + np.sort(order[:MOST_EPOCHS])
        assert kept["epochs"].tolist() == expected.tolist()
        assert kept["logits"].dtype == torch.float32
        np.testing.assert_array_equal(kept["logits"][:, 0, 0], expected)


def test_every_epochs_answers_give_its_search_score_and_the_best_is_among_them(tmp_path):
    data = tiny_data(val=40)
    results = run(tiny_recipe(epochs=5, lr=3e-2), data, checkpoint=tmp_path)
    best = read_best(tmp_path)
    assert best.epochs is not None
    assert best.epochs.dtype == np.float32
    assert len(best.epochs) == len(results)
    for result, logits in zip(results, best.epochs, strict=True):
        score, _ = search_score(OBJECTIVE, ranked(OBJECTIVE, logits.astype(float)), best.labels)
        assert score == result.search_score
    number = next(result.epoch for result in reversed(results) if result.best)
    np.testing.assert_array_equal(best.epochs[number - 1], best.logits)


def test_they_are_the_same_when_a_run_is_resumed_after_every_epoch(tmp_path):
    recipe, data = tiny_recipe(epochs=4), tiny_data()
    run(recipe, data, checkpoint=tmp_path / "whole")
    for epochs in range(1, 5):
        steps = fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path / "resumed", device=CPU)
        list(islice(steps, epochs))
        steps.close()
    whole, resumed = (read_best(tmp_path / name).epochs for name in ("whole", "resumed"))
    assert whole is not None
    np.testing.assert_array_equal(whole, resumed)


def test_a_run_that_began_before_they_were_kept_goes_on_without(tmp_path):
    recipe, data = tiny_recipe(epochs=3), tiny_data()
    next(fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path, device=CPU))
    header, parts = read_file(path_of(tmp_path, "last"))
    assert parts.pop("epochs")["epochs"].tolist() == [1]
    write_file(path_of(tmp_path, "last"), header, parts)
    run(recipe, data, checkpoint=tmp_path)
    assert read_best(tmp_path).epochs is None


def test_the_best_models_file_has_none_of_them(tmp_path):
    run(tiny_recipe(), tiny_data(), checkpoint=tmp_path)
    _, parts = read_file(path_of(tmp_path, "best"))
    assert set(parts) == {"model", "val"}
    path_of(tmp_path, "last").unlink()
    assert read_best(tmp_path).epochs is None
