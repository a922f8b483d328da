"""Both sides are given the same work, and the ratios of their times are what they are called."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.tune.search.optuna import OptunaSearch

from benchmarks import stock
from benchmarks.against_stock import (
    auroc_error,
    compare_quality,
    overhead_per_trial,
    per_further_trial,
    ratio,
    replay,
    spread,
    summarise,
    to_targets,
)
from benchmarks.judged import leaders
from benchmarks.replayed import (
    Drawn,
    Workload,
    draw_trials,
    known_name,
    space_text,
    trials_json,
    workload,
)
from benchmarks.sides import Ended, Run, Side
from benchmarks.written import missing, write_images, write_weights
from search.options import Options
from search.plan import make_plan
from search.space import load_space
from search.study.halving import rungs
from xfer.evaluate.metrics import evaluate_binary
from xfer.models.adapters import torchvision_key
from xfer.models.assembly import assemble, skeleton
from xfer.recipe import Pretrained, Recipe

NAMES = ("head", "real", "mixed")
DRAWN = Drawn(backbones=("resnet18",), depths=(0, 1), lrs=(1e-3, 1e-2), epochs=2, image_size=32)
TINY = Workload(
    name="tiny", drawn=DRAWN, trials=draw_trials(DRAWN, 2, seed=0), images="phantoms",
    train=6, val=3, test=2, held_back=4, random=("resnet18",),
)  # fmt: skip


class Answers:
    """A trial that gives what an entry says."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.entry = entry

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:
        assert low <= self.entry[name] <= high
        return self.entry[name]

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:
        assert low <= self.entry[name] <= high
        return self.entry[name]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        assert self.entry[name] in choices
        return self.entry[name]


def asked_of_us(work: Workload, place: Path) -> list[dict[str, Any]]:
    """The list as our search makes recipes of it, in the stock script's words."""
    file = place / "space.py"
    file.write_text(space_text(work, work.trials, place / "data"))
    space = load_space(file)
    plan = make_plan(space, Options(space=str(file)))
    assert list(plan.known) == [known_name(number) for number in range(len(work.trials))]
    assert plan.budget.trials == len(work.trials)
    found = []
    for entry in plan.known.values():
        recipe = plan.recipe(Answers(dict(entry)))
        model = recipe.model
        assert isinstance(model, Pretrained)
        plain = Recipe(
            model=Pretrained(model.name, unfreeze_depth=model.unfreeze_depth),
            lr=recipe.lr, batch_size=recipe.batch_size, epochs=recipe.epochs,
        )  # fmt: skip
        assert recipe == plain  # Adam, a linear head on averages, nothing else
        found.append(
            {
                "backbone": model.name, "unfreeze_depth": model.unfreeze_depth, "lr": recipe.lr,
                "batch_size": recipe.batch_size, "epochs": recipe.epochs,
                "image_size": plan.data.size,
            }
        )  # fmt: skip
    return found


def asked_of_stock(work: Workload) -> list[dict[str, Any]]:
    """The list as Ray's searcher proposes it."""
    listed = json.loads(json.dumps(trials_json(work.trials)))
    search = OptunaSearch(points_to_evaluate=[dict(trial) for trial in listed])
    assert search.set_search_properties("auroc", "max", stock.param_space(listed))
    return [search.suggest(str(number)) or {} for number in range(len(listed))]


@pytest.mark.parametrize("small", [False, True], ids=["whole", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_both_sides_train_the_same_list(name: str, small: bool, tmp_path: Path) -> None:
    work = workload(name, small=small)
    listed = [asdict(trial) for trial in work.trials]
    assert asked_of_us(work, tmp_path) == listed
    assert asked_of_stock(work) == listed


@pytest.mark.parametrize("name", NAMES)
def test_no_two_trials_of_a_list_are_equal(name: str) -> None:
    trials = workload(name).trials
    assert len(set(trials)) == len(trials)


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    assert draw_trials(DRAWN, 9, seed=3)[:4] == draw_trials(DRAWN, 4, seed=3)
    assert draw_trials(DRAWN, 4, seed=4) != draw_trials(DRAWN, 4, seed=3)


def test_only_a_search_for_a_target_stops_trials(tmp_path: Path) -> None:
    for name in NAMES:
        work = workload(name)
        file = tmp_path / f"{name}.py"
        file.write_text(space_text(work, work.trials, tmp_path))
        assert bool(rungs(load_space(file).budget.epochs)) == bool(work.targets)


@pytest.mark.parametrize(
    ("backbone", "depth"),
    [
        *product(("resnet18", "squeezenet1_1", "mobilenet_v2"), range(5)),
        ("resnet50", 0),  # of head
    ],
)
def test_both_sides_train_the_same_parameters(
    backbone: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stock.WEIGHTS, backbone, None)
    recipe = Recipe(model=Pretrained(backbone, unfreeze_depth=depth), lr=1e-3)
    with torch.device("meta"):
        theirs = stock.build_model(backbone, unfreeze_depth=depth)
        ours = skeleton(recipe, classes=2, size=64, channels=3)
    trained = {name for name, p in theirs.named_parameters() if p.requires_grad}
    of_head = {name for name in trained if name.startswith(("fc.", "classifier."))}
    names = {
        torchvision_key(name.removeprefix("backbone."))
        for part in ours.parts()
        if part.name != "head"
        for name in part.parameters
    }
    assert trained - of_head == names
    shapes = [tuple(dict(theirs.named_parameters())[name].shape) for name in sorted(of_head)]
    assert sorted(shapes) == sorted(tuple(p.shape) for p in ours.head.parameters())


@pytest.mark.parametrize("backbone", ["resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_both_sides_answer_alike_with_one_head(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = replace(TINY, drawn=replace(DRAWN, backbones=(backbone,)), random=(backbone,))
    write_images(work, tmp_path)
    write_weights(work, tmp_path / "weights", tmp_path / "data")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "weights"))
    theirs = stock.build_model(backbone, unfreeze_depth=1).eval()
    recipe = Recipe(model=Pretrained(backbone, unfreeze_depth=1), lr=1e-3)
    ours = assemble(recipe, classes=2, size=32, channels=3, seed=0).eval()
    head = dict(theirs.named_parameters())
    weight, bias = [name for name in head if name.startswith(("fc.", "classifier."))]
    with torch.no_grad():
        head[weight].copy_(ours.head.outputs.weight)
        head[bias].copy_(ours.head.outputs.bias)
        part = stock.load_part(tmp_path / "data", "val", image_size=32)
        pixels = torch.stack([part[i][0] for i in range(4)])
        mean, deviation = torch.tensor(stock.MEAN), torch.tensor(stock.DEVIATION)
        raw = pixels * deviation[:, None, None] + mean[:, None, None]
        torch.testing.assert_close(theirs(pixels), ours(raw), rtol=1e-4, atol=1e-5)


def test_images_are_written_in_parts_that_share_none(tmp_path: Path) -> None:
    counts = write_images(TINY, tmp_path)
    assert counts == {
        "train": {"NORMAL": 6, "PNEUMONIA": 6},
        "val": {"NORMAL": 3, "PNEUMONIA": 3},
        "test": {"NORMAL": 2, "PNEUMONIA": 2},
    }
    files = list(tmp_path.rglob("*.jpg"))
    assert len(files) == 2 * (6 + 3 + 2 + 4)
    assert len({file.read_bytes() for file in files}) == len(files)


def test_a_workload_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XFER_DATA", raising=False)
    assert missing(workload("head")) is None
    assert "XFER_DATA is not set" in str(missing(workload("real")))
    monkeypatch.setenv("XFER_DATA", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "no weights of squeezenet1_1" in str(missing(workload("real")))
    assert "no weights of" in str(missing(workload("mixed")))


def test_the_stock_auroc_is_ours() -> None:
    rng = np.random.default_rng(0)
    scores, labels = np.round(rng.random(60), 1), rng.integers(2, size=60)  # with ties
    theirs = stock.auroc(torch.from_numpy(scores), torch.from_numpy(labels))
    assert theirs == pytest.approx(evaluate_binary(scores, labels, threshold=0.5)["auroc"])


# --------------------------------------------------------------------------------------------------
# Arithmetic


def run(side: Side, seconds: float, *aurocs: float, led: dict[float, float] | None = None) -> Run:
    ended = tuple(
        Ended(auroc=auroc, epochs=5, seconds=seconds - 1, trained=2.0) for auroc in aurocs
    )
    return Run(
        side=side, seconds=seconds, trials=ended, slots=2, held_back=tuple((led or {}).items())
    )


def test_a_summary_is_of_ratios_within_pairs() -> None:
    work = replace(workload("head"), trials=workload("head").trials[:5])
    aurocs = (0.9,) * 5
    first = {
        "stock": [run("stock", s, 0.9) for s in (20, 20, 20)],
        "ours": [run("ours", s, 0.9) for s in (10, 11, 12)],
    }
    whole = {
        "stock": [run("stock", s, *aurocs) for s in (100, 120, 80)],
        "ours": [run("ours", s, *aurocs) for s in (12, 15, 12)],
    }
    found = summarise(work, first, whole)  # type: ignore[arg-type]
    assert found["whole"] == {"median": 8, "least": 6.667, "most": 8.333, "n": 3}
    assert found["searched"]["median"] == round(119 / 14, 3)
    # 80 / 4 over 2 / 4, 100 / 4 over 4 / 4, 60 / 4 over 0 / 4
    assert found["further"] == {"median": 40, "least": 25, "most": None, "n": 3}
    assert found["seconds_further"]["stock"] == {"median": 20, "least": 15, "most": 25, "n": 3}
    assert found["quality"]["equal"]
    json.dumps(found, allow_nan=False)


def test_a_target_that_stock_never_reached_counts_its_whole_time() -> None:
    work = replace(workload("mixed"), targets=(0.8, 0.9, 0.99))
    whole = {
        "stock": [run("stock", 100, 0.9, led={30: 0.8, 50: 0.9}), run("stock", 100, 0.9)],
        "ours": [run("ours", 20, 0.9, led={10: 0.9}), run("ours", 20, 0.9, led={5: 0.7, 10: 0.9})],
    }
    found = to_targets(work, whole)["to_target"]  # type: ignore[arg-type]
    assert found["0.8"]["ratio"] == {"median": 6.5, "least": 3, "most": 10, "n": 2}
    assert found["0.9"]["ratio"] == {"median": 7.5, "least": 5, "most": 10, "n": 2}
    assert found["0.9"]["reached"] == {"stock": 1, "ours": 2}
    assert found["0.99"] == {"ratio": None, "reached": {"stock": 0, "ours": 0}}


def test_ratios_and_further_trials() -> None:
    assert ratio(10, 4) == 2.5
    assert math.isinf(ratio(10, 0))
    assert per_further_trial(31, 1, 16) == 2
    assert spread([1, 3]) == {"median": 2, "least": 1, "most": 3, "n": 2}


def test_overhead_is_what_a_slot_does_besides_training() -> None:
    # 2 slots, 8 trials of 2 s training and 1.5 s else: 4 one after another, 10 s once
    whole = run("ours", 10 + 4 * 3.5, *(0.9,) * 8)
    first = run("ours", 10 + 3.5, 0.9)
    assert overhead_per_trial(whole, first) == pytest.approx(1.5)
    assert math.isnan(overhead_per_trial(run("ours", 20, 0.9, 0.9), first))
    assert spread([math.nan])["median"] is None


def test_leaders_are_the_best_so_far_in_time() -> None:
    trials = [
        Ended(auroc=auroc, epochs=1, seconds=seconds, may_win=may_win)
        for auroc, seconds, may_win in (
            (0.9, 30, True), (0.7, 10, True), (0.6, 20, True), (0.99, 5, False), (0.8, 25, True),
        )
    ]  # fmt: skip
    assert leaders(trials) == [1, 4, 0]


def test_equal_quality_is_judged_by_trial_and_by_mean() -> None:
    same = compare_quality([[0.9, 0.8], [0.92, 0.82]], [[0.91, 0.81], [0.91, 0.81]], images=50)
    assert same["equal"]
    assert same["differences"] == pytest.approx([0.0, 0.0], abs=1e-9)
    one_fell = compare_quality([[0.9] * 20], [[0.9] * 19 + [0.72]], images=50)
    assert not one_fell["equal"]
    assert abs(one_fell["mean"]) <= 0.01
    all_fell = compare_quality([[0.9] * 20], [[0.88] * 20], images=50)
    assert not all_fell["equal"]
    assert all(
        abs(d) <= a for d, a in zip(all_fell["differences"], all_fell["allowed"], strict=True)
    )


def test_the_error_of_an_auroc_is_that_of_exponential_scores() -> None:
    rng = np.random.default_rng(0)
    positives, negatives, auroc = 20, 30, 0.85
    rate = auroc / (1 - auroc)  # P(Exp(mean rate) > Exp(mean 1)) = rate / (1 + rate)
    sick = rng.exponential(rate, (4000, positives, 1))
    well = rng.exponential(1.0, (4000, 1, negatives))
    found = (sick > well).mean(axis=(1, 2))
    assert found.mean() == pytest.approx(auroc, abs=0.005)
    assert auroc_error(auroc, positives, negatives) == pytest.approx(found.std(), rel=0.05)


# --------------------------------------------------------------------------------------------------
# For real


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("targets", [(), (0.5,)], ids=["to the end", "to a target"])
def test_both_sides_run_for_real(targets: tuple[float, ...], tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    replay(
        [
            replace(
                TINY,
                train=16,
                val=30,
                test=30,
                trials=draw_trials(DRAWN, 3, seed=0),
                targets=targets,
            )
        ],
        tmp_path,
        lines.append,
    )
    *runs, summary = lines
    assert [(line["side"], line["trials"]) for line in runs][-2:] == [("stock", 3), ("ours", 3)]
    assert len(runs) == (2 if targets else 4)
    for line in runs:
        assert 0 < line["searched_s"] <= line["seconds"]
        assert all(0 <= auroc <= 1 for auroc in line["auroc"])
        assert targets or set(line["epochs"]) == {2}
    if not targets:
        assert summary["whole"]["n"] == 1
        assert summary["quality"]["differences"]
    else:
        assert all(0 < auroc < 1 for line in runs for _, auroc in line["held_back"])
        assert set(summary["to_target"]) == {"0.5"}
