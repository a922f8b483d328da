"""A run is opened by Optuna's command line, by optuna-dashboard and by TensorBoard.

It has trials of every kind, written by all that writes in a search, without Ray: a formula stands
where training does.
"""

import json
import math
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import ROOT
from recorded import EPOCHS, play, result_of
from server import Server, installed

from search.bridge import Bridge
from search.check.inspection import inspect
from search.options import parse
from search.plan import make_plan
from search.space import load_space
from search.study import Record
from search.tensorboard import TensorBoard
from search.trials import State, TrialRow

NAME = "pneumonia-2"
PLAYED = 14
DOES = {4: "memory", 6: "error", 8: "nan", 9: "not_finite", 10: "early"}
STOPPED: dict[int, State] = {4: "infeasible", 6: "failed", 8: "pruned", 9: "infeasible"}
BEST, CUT_SHORT, NOT_BEGUN = 14, 15, 16
BEST_SCORES = {1: 0.5, 2: 0.95, 3: 0.7, 4: 0.8}
"""The last epoch is not the best."""
CONVNETS = {
    "convnet/kernels", "convnet/depth", "convnet/kernel_size", "convnet/pool",
    "convnet/batch_norm", "convnet/initial",
}  # fmt: skip
BACKBONES = {
    "trained", "cut", "unfreeze_depth", "batch_norm", "lr_factor", "lr_decay", "head_first",
}  # fmt: skip
USED = CONVNETS | BACKBONES | {
    "model", "head/dense", "head/second", "head/drop_features", "head/pool", "head/activation",
    "dropout", "optimizer", "lr", "sgd/lr", "schedule", "batch_size", "clip_norm",
    "label_smoothing", "l1", "l2", "augment", "balance",
}  # fmt: skip
HYPERPARAMETERS = USED | {"oversample/augmented"}
"""Of the space; so few trials do not come to the last one."""
OPTUNAS: dict[State, str] = {
    "complete": "COMPLETE", "pruned": "PRUNED", "infeasible": "PRUNED", "failed": "FAIL",
    "waiting": "WAITING",
}  # fmt: skip
TENSORBOARDS: dict[State, str] = {
    "complete": "STATUS_SUCCESS", "pruned": "STATUS_SUCCESS", "infeasible": "STATUS_FAILURE",
    "failed": "STATUS_FAILURE", "waiting": "STATUS_UNKNOWN",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Run:
    """What was written, and what those who wrote it say of it."""

    folder: Path
    rows: list[TrialRow]

    @property
    def storage(self) -> str:
        return f"sqlite:///{self.folder / 'study.db'}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / NAME
    folder.mkdir()
    space = ROOT / "spaces" / "pneumonia.py"
    words = [str(space), "--demo", "--backbones", "convnet,squeezenet1_1,mobilenet_v2"]
    words += ["--epochs", str(EPOCHS)]
    plan = make_plan(load_space(space), parse(words))
    columns = inspect(plan).checked.ranges
    about = {"space": space.name, "objective": plan.objective.name}

    def record(**more: Any) -> Record:
        study, known = folder / "study.db", dict(plan.known) | more
        return Record(study, name=NAME, seed=0, epochs=EPOCHS, known=known, about=about)

    with TensorBoard(folder / "tensorboard", columns) as board:
        with record() as first:
            bridge = Bridge(first, plan.recipe, trials=PLAYED, slots=1, watchers=[board])
            play(bridge, lambda number: DOES.get(number, ""))
            assert bridge.failure is None
        # A later session; a configuration that became known after it has not had its turn.
        with record() as second:
            bridge = Bridge(second, plan.recipe, trials=PLAYED + 2, slots=1, watchers=[board])
            assert [tell(bridge, BEST_SCORES), tell(bridge, {1: 0.5})] == [BEST, CUT_SHORT]
            bridge.put_back_all()
        with record(later={"lr": 2e-3}) as last:
            rows = last.rows()
    return Run(folder=folder, rows=rows)


def tell(bridge: Bridge, scores: Mapping[int, float]) -> int:
    """Begins a trial and reports these epochs of it; it ends where they are all. Its number."""
    config = bridge.propose()
    assert config is not None
    number = config["number"]
    for epoch, score in scores.items():
        result = result_of(config["recipe"], epoch, score)
        result["best"] = score == max(scores[e] for e in scores if e <= epoch)
        assert bridge.heard(number, {"number": number, "result": json.dumps(result)})
    if len(scores) == EPOCHS:
        bridge.heard(number, {"number": number, "final": True, "ended": "complete"})
    return number


def test_the_run_has_trials_of_every_kind(run: Run) -> None:
    states = {row.number: row.state for row in run.rows}
    assert list(states) == list(range(NOT_BEGUN + 1))
    assert states.items() >= STOPPED.items()
    assert states[BEST] == "complete"
    assert states[CUT_SHORT] == states[NOT_BEGUN] == "waiting"
    assert set(states.values()) == set(OPTUNAS)
    assert "among the poorer after epoch 3" in {row.ended for row in run.rows}
    used = [frozenset(row.params) for row in run.rows]
    for each in used:  # a convnet's, a backbone's, or none
        convnets, backbones = each & CONVNETS, each & BACKBONES
        assert convnets in (CONVNETS, set())
        assert not (convnets and backbones)
        assert bool(each) == bool(convnets or "trained" in backbones)
    assert any(each & CONVNETS for each in used)
    assert any(each >= BACKBONES for each in used)
    assert frozenset() in used
    assert frozenset().union(*used) == USED


# --------------------------------------------------------------------------------------------------
# Optuna's command line


@pytest.fixture(scope="module")
def listed(run: Run) -> dict[str, Any]:
    """What `optuna` answers to three questions, by question."""
    where = ["--storage", run.storage, "-f", "json"]
    asked = {"studies": where, "trials": [*where, "--study-name", NAME]}
    asked["best-trial"] = asked["trials"]
    running = {
        what: subprocess.Popen(
            [installed("optuna"), what, *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for what, words in asked.items()
    }  # fmt: skip
    answers = {}
    try:
        for what, process in running.items():
            answer, said = process.communicate(timeout=60)
            assert process.returncode == 0, said
            answers[what] = json.loads(answer)
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    return answers


def test_optuna_lists_the_study(listed: dict[str, Any], run: Run) -> None:
    [study] = listed["studies"]
    assert (study["name"], study["direction"]) == (NAME, ["MAXIMIZE"])
    assert study["n_trials"] == len(run.rows)
    assert study["user_attrs"] == {
        "seed": 0, "space": "pneumonia.py", "objective": "recall_weighted",
    }  # fmt: skip


def test_optuna_lists_every_trial_as_it_is(listed: dict[str, Any], run: Run) -> None:
    assert [
        (trial["number"], trial["state"], trial["value"], trial["params"])
        for trial in listed["trials"]
    ] == [(row.number, OPTUNAS[row.state], value_of(row), row.params) for row in run.rows]
    attributes = [trial["user_attrs"] for trial in listed["trials"]]
    assert [a.get("name") for a in attributes] == [row.name for row in run.rows]
    assert [a.get("recipe") for a in attributes] == [row.recipe for row in run.rows]
    ended = {number: attributes[number]["ended"] for number in STOPPED}
    assert ended == {n: f"{state}: {run.rows[n].ended}" for n, state in STOPPED.items()}


def value_of(row: TrialRow) -> float | None:
    """Optuna's value: a pruned trial's is its last score, where that is one."""
    if row.state == "complete":
        return row.value
    if row.state not in ("pruned", "infeasible"):
        return None
    last = row.scores[max(row.scores)]
    return None if math.isnan(last) else last


def test_optuna_names_the_best_trial_by_its_best_epoch(listed: dict[str, Any]) -> None:
    best = listed["best-trial"]
    assert (best["number"], best["value"]) == (BEST, 0.95)
    assert best["user_attrs"]["best"]["epoch"] == 2


# --------------------------------------------------------------------------------------------------
# optuna-dashboard and TensorBoard, both started at once


@pytest.fixture(scope="module")
def servers(run: Run) -> Iterator[tuple[Server, Server]]:
    folder = run.folder
    with (
        Server("optuna-dashboard", run.storage, log=folder / "dashboard.log") as dashboard,
        Server(
            "tensorboard", "--logdir", str(folder / "tensorboard"), "--reload_interval=1",
            log=folder / "tensorboard.log",
        ) as tensorboard,
    ):  # fmt: skip
        dashboard.wait("api/studies", bool)
        # The run's own folder and one for each trial that was begun.
        tensorboard.wait("data/runs", lambda runs: len(runs) == 1 + NOT_BEGUN)
        yield dashboard, tensorboard


@pytest.fixture(scope="module")
def shown(servers: tuple[Server, Server]) -> dict[str, Any]:
    """The study as the dashboard's page gets it."""
    dashboard, _ = servers
    [study] = dashboard.get("api/studies")["study_summaries"]
    assert (study["study_name"], study["directions"]) == (NAME, ["maximize"])
    return dashboard.get(f"api/studies/{study['study_id']}")


def test_the_dashboard_shows_every_trial_as_it_is(shown: dict[str, Any], run: Run) -> None:
    assert [
        (trial["number"], trial["state"].upper(), trial.get("values"), params_of(trial))
        for trial in shown["trials"]
    ] == [
        (row.number, OPTUNAS[row.state], in_list(value_of(row)), texts(row.params))
        for row in run.rows
    ]
    assert {spread["name"] for spread in shown["union_search_space"]} == USED


def test_the_dashboard_has_every_learning_curve(shown: dict[str, Any], run: Run) -> None:
    assert shown["has_intermediate_values"]
    for trial, row in zip(shown["trials"], run.rows, strict=True):
        curve = {point["step"]: float(point["value"]) for point in trial["intermediate_values"]}
        assert curve == pytest.approx(dict(row.scores), nan_ok=True)


def test_the_dashboard_says_why_each_trial_ended(shown: dict[str, Any], run: Run) -> None:
    said = [
        {item["key"]: item["value"] for item in trial["user_attrs"]}.get("ended")
        for trial in shown["trials"]
    ]
    assert said == [f"{row.state}: {row.ended}" if row.ended else None for row in run.rows]


def test_the_dashboard_knows_the_best_trial(shown: dict[str, Any]) -> None:
    [best] = shown["best_trials"]
    assert (best["number"], best["values"]) == (BEST, [0.95])


def params_of(trial: dict[str, Any]) -> dict[str, str]:
    return {param["name"]: param["param_external_value"] for param in trial["params"]}


def texts(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items()}


def in_list(value: float | None) -> list[float] | None:
    return None if value is None else [value]


# --------------------------------------------------------------------------------------------------
# TensorBoard


@pytest.fixture(scope="module")
def tensorboard(servers: tuple[Server, Server]) -> Server:
    return servers[1]


@pytest.fixture(scope="module")
def table(tensorboard: Server) -> dict[int, dict[str, Any]]:
    """The rows of the HParams table, by trial."""
    asked = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": [*set(TENSORBOARDS.values())]}
    groups = tensorboard.get("data/plugin/hparams/session_groups", asked)["sessionGroups"]
    return {int(group["name"][:3]): group for group in groups}


def test_tensorboard_has_every_learning_curve(tensorboard: Server, run: Run) -> None:
    tags = tensorboard.get("data/plugin/scalars/tags")
    folders = {int(name[:3]): name for name in tags if name != "."}
    assert sorted(folders) == list(range(NOT_BEGUN))
    for number, folder in folders.items():
        assert set(tags[folder]) >= {"train/loss", "val/search_score", "val/recall", "val/mcc"}
        where = f"data/plugin/scalars/scalars?run={folder}&tag=val/search_score"
        curve = {step: float(value) for _, step, value in tensorboard.get(where)}
        assert curve == pytest.approx(dict(run.rows[number].scores), nan_ok=True)  # float32


def test_one_hparams_experiment_names_every_hyperparameter(tensorboard: Server) -> None:
    experiment = tensorboard.get("data/plugin/hparams/experiment", {"experimentName": ""})
    columns = {info["name"]: info for info in experiment["hparamInfos"]}
    assert set(columns) == HYPERPARAMETERS
    assert columns["convnet/depth"]["domainInterval"] == {"minValue": 2, "maxValue": 4}
    assert columns["head/dense"]["domainDiscrete"] == [0, 8, 10, 64, 128, 256]
    assert columns["model"]["domainDiscrete"] == ["convnet", "mobilenet_v2", "squeezenet1_1"]
    metrics = [info["displayName"] for info in experiment["metricInfos"]]
    assert metrics == ["val/search_score", "val/recall", "val/mcc", "val/threshold"]


def test_the_table_has_each_trial_with_its_own_hyperparameters(
    table: dict[int, dict[str, Any]], run: Run
) -> None:
    begun = run.rows[:NOT_BEGUN]
    assert {number: table[number]["hparams"] for number in sorted(table)} == {
        row.number: row.params for row in begun
    }
    status = {n: group["sessions"][0].get("status", "STATUS_UNKNOWN") for n, group in table.items()}
    assert status == {row.number: TENSORBOARDS[row.state] for row in begun}


def test_the_table_has_the_best_epoch_of_each_trial(
    table: dict[int, dict[str, Any]], run: Run
) -> None:
    for row in run.rows[:NOT_BEGUN]:
        metrics = {metric["name"]["tag"]: metric for metric in table[row.number]["metricValues"]}
        score = metrics["best/search_score"]
        assert (score["value"], score["trainingStep"]) == pytest.approx((row.value, row.best_epoch))
        assert metrics["best/recall"]["value"] == pytest.approx(row.val["recall"])
    best = next(m for m in table[BEST]["metricValues"] if m["name"]["tag"] == "best/search_score")
    assert (best["value"], best["trainingStep"]) == pytest.approx((0.95, 2))
