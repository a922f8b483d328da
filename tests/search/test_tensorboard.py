"""Event files are read back by TensorBoard itself: its server, started as a user starts it."""

import io
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from PIL import Image
from server import Server
from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

from search.contact_sheets import SHEET_TAG, Sheet
from search.tensorboard import TensorBoard, read_scalars, trial_folder
from search.trials import EpochDone, Event, TrialEnded, TrialStarted

ASKED: dict[str, Any] = {
    "model": CategoricalDistribution(("convnet", "resnet18")),
    "lr": FloatDistribution(1e-5, 1e-2, log=True),
    "convnet/kernel_size": IntDistribution(3, 7, step=2),
    "unfreeze_depth": IntDistribution(0, 4),
    "nesterov": CategoricalDistribution((True, False)),
    "width": CategoricalDistribution((32, 64.0)),
    "dense": CategoricalDistribution((None, 128)),
}


def started(number: int, name: str | None = None, **params: Any) -> TrialStarted:
    return TrialStarted(number=number, name=name, params=params, recipe={"lr": 0.1})


def epoch(number: int, epoch: int, score: float, *, best: bool = True) -> EpochDone:
    val = {"recall": score + 0.01, "specificity": score - 0.01, "loss": 1 - score}
    result = {"epoch": epoch, "train": {"loss": 1 / epoch}, "val": val, "search_score": score}
    result |= {"threshold": 0.4, "best": best, "seconds": 1.5, "stopped": None}
    return EpochDone(number=number, result=result)


def ended(number: int, state: Any = "complete") -> TrialEnded:
    return TrialEnded(number=number, state=state, ended="all epochs")


EVENTS: tuple[Event, ...] = (
    started(0, "known, 1", model="convnet", lr=1e-3, **{"convnet/kernel_size": 5}, dense=None),
    started(1, model="resnet18", lr=1e-4, unfreeze_depth=2, nesterov=True, width=64, dense=128),
    epoch(0, 1, 0.7),
    epoch(1, 1, 0.6),
    epoch(0, 2, 0.9),
    epoch(0, 3, 0.8, best=False),
    ended(1, "pruned"),
    ended(0),
    started(2, model="convnet", lr=1e-2, **{"convnet/kernel_size": 3}),
    epoch(2, 1, math.nan, best=False),
    ended(2, "infeasible"),
    started(3, model="resnet18", lr=1e-2, unfreeze_depth=0),
    epoch(3, 1, 0.5),
)


def write(folder: Path, *events: Event, sheet: Sheet | None = None) -> None:
    with TensorBoard(folder, ASKED, sheet=sheet) as board:
        for event in events:
            board(event)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("events.out.tfevents.*"))


def test_skill_is_a_curve_and_a_column_where_the_best_constant_is_known(tmp_path: Path) -> None:
    with TensorBoard(tmp_path, ASKED, constant=0.5) as board:
        for event in EVENTS:
            board(event)
    series = read_scalars(tmp_path / "000-known-1")
    assert series["val/skill"] == pytest.approx({1: 0.4, 2: 0.8, 3: 0.6})
    assert series["best/skill"] == pytest.approx({1: 0.4, 2: 0.8})


def test_every_epoch_is_a_point_of_each_series(tmp_path: Path) -> None:
    write(tmp_path, *EVENTS)
    series = read_scalars(tmp_path / "000-known-1")
    assert series["val/search_score"] == pytest.approx({1: 0.7, 2: 0.9, 3: 0.8})
    assert series["train/loss"] == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert series["val/threshold"] == pytest.approx({1: 0.4, 2: 0.4, 3: 0.4})


def test_best_series_end_with_the_best_epoch(tmp_path: Path) -> None:
    write(tmp_path, *EVENTS)
    series = read_scalars(tmp_path / "000-known-1")
    assert series["best/search_score"] == pytest.approx({1: 0.7, 2: 0.9})
    assert series["best/recall"] == pytest.approx({1: 0.71, 2: 0.91})


def test_an_epoch_can_be_read_before_its_trial_ends(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, ASKED)
    board(started(0, lr=0.1))
    board(epoch(0, 1, 0.5))
    assert read_scalars(tmp_path / "000")["val/recall"] == pytest.approx({1: 0.51})
    board.close()


def test_a_resumed_trial_goes_on_in_its_folder_without_repeating(tmp_path: Path) -> None:
    first = (started(4, "a name", lr=0.1), epoch(4, 1, 0.5), epoch(4, 2, 0.6))
    write(tmp_path, *first, TrialEnded(number=4, state="waiting", ended="interrupted"))
    # The name is not known any more, and epoch 2 is told again with another value.
    write(tmp_path, started(4, lr=0.1), epoch(4, 2, 0.9), epoch(4, 3, 0.7), ended(4))
    write(tmp_path, ended(4))
    assert [f.name for f in tmp_path.iterdir() if f.is_dir()] == ["004-a-name"]
    scores = read_scalars(tmp_path / "004-a-name")["val/search_score"]
    assert scores == pytest.approx({1: 0.5, 2: 0.6, 3: 0.7})
    assert len([f for f in files(tmp_path) if f.parent == tmp_path]) == 1  # one experiment


def test_a_record_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, started(0, lr=0.1), epoch(0, 1, 0.5), epoch(0, 2, 0.6))
    (file,) = files(tmp_path / "000")
    file.write_bytes(file.read_bytes()[:-7])
    assert read_scalars(tmp_path / "000")["val/search_score"] == pytest.approx({1: 0.5})
    write(tmp_path, epoch(0, 2, 0.6))
    assert read_scalars(tmp_path / "000")["val/search_score"] == pytest.approx({1: 0.5, 2: 0.6})


def test_files_are_open_only_while_their_trial_runs(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("counts open files in /proc, which only Linux has")
    with TensorBoard(tmp_path, ASKED) as board:
        before = len(list(handles.iterdir()))
        for number in range(20):
            board(started(number, lr=0.1))
            board(epoch(number, 1, 0.5))
            board(ended(number))
        assert len(list(handles.iterdir())) <= before


@pytest.mark.parametrize(
    ("number", "name", "folder"),
    [
        (3, None, "003"),
        (3, "densenet, frozen", "003-densenet-frozen"),
        (3, "../../etc", "003-etc"),
        (1234, "ä/ö", "1234"),
    ],
)
def test_a_folder_is_named_by_number_and_known_name(
    tmp_path: Path, number: int, name: str | None, folder: str
) -> None:
    assert trial_folder(tmp_path, number, name) == tmp_path / folder


# --------------------------------------------------------------------------------------------------
# What training sees


def drawing(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def pictures(folder: Path) -> list[Any]:
    """All of a trial's, as TensorBoard's own reader finds them."""
    reader = EventAccumulator(str(folder), size_guidance={IMAGES: 0}).Reload()
    return reader.Images(SHEET_TAG) if SHEET_TAG in reader.Tags()["images"] else []


def test_a_trials_sheet_is_a_picture_of_its_size_from_its_start_on(tmp_path: Path) -> None:
    with TensorBoard(tmp_path, ASKED, sheet=lambda number, _: drawing(number)) as board:
        board(started(3, lr=0.1))
        (found,) = pictures(tmp_path / "003")
    assert (found.height, found.width) == (20, 30)
    with Image.open(io.BytesIO(found.encoded_image_string)) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), drawing(3))


def test_a_sheet_is_made_of_the_trials_own_recipe(tmp_path: Path) -> None:
    asked = []
    write(tmp_path, *EVENTS, sheet=lambda number, recipe: asked.append((number, dict(recipe))))
    assert asked == [(number, {"lr": 0.1}) for number in range(4)]
    assert not pictures(tmp_path / "000-known-1")


def test_a_resumed_trial_has_its_sheet_once_also_if_it_was_begun_without(tmp_path: Path) -> None:
    write(tmp_path, started(0, lr=0.1))
    for _ in range(2):
        write(tmp_path, started(0, lr=0.1), sheet=lambda number, _: drawing(number))
        assert len(pictures(tmp_path / "000")) == 1


@pytest.mark.parametrize("broken", [lambda *_: 1 / 0, lambda *_: "no picture"])
def test_a_sheet_that_fails_is_logged_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: Sheet
) -> None:
    with caplog.at_level(logging.WARNING):
        write(tmp_path, started(0, lr=0.1), epoch(0, 1, 0.5), ended(0), sheet=broken)
    (record,) = caplog.records
    assert record.getMessage().startswith("TensorBoard gets no images of trial 0: ")
    assert read_scalars(tmp_path / "000")["val/search_score"] == pytest.approx({1: 0.5})
    assert not pictures(tmp_path / "000")


def test_event_files_are_written_without_torch() -> None:
    program = "import sys, search.tensorboard; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --------------------------------------------------------------------------------------------------
# TensorBoard's own server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("run") / "tensorboard"
    write(folder, *EVENTS)
    words = ("--logdir", str(folder), "--reload_interval=1")
    with Server("tensorboard", *words, log=folder.parent / "server.log") as running:
        running.wait("data/runs", lambda runs: len(runs) >= 5)
        yield running


ALL = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


def sessions(server: Server) -> dict[str, Any]:
    request = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": ALL}
    answer = server.get("data/plugin/hparams/session_groups", request)
    return {group["name"]: group for group in answer["sessionGroups"]}


def test_the_server_shows_each_trial_as_a_run_with_its_scalars(server: Server) -> None:
    runs = server.get("data/runs")
    assert {"000-known-1", "001", "002", "003"} <= set(runs)
    points = server.get("data/plugin/scalars/scalars?run=000-known-1&tag=val/search_score")
    assert [point[1] for point in points] == [1, 2, 3]
    assert [point[2] for point in points] == pytest.approx([0.7, 0.9, 0.8])


def test_one_experiment_names_every_hyperparameter(server: Server) -> None:
    """Fact 10 of DESIGN: conditional columns must not disappear."""
    experiment = server.get("data/plugin/hparams/experiment", {"experimentName": ""})
    columns = {info["name"]: info for info in experiment["hparamInfos"]}
    assert set(columns) == set(ASKED)
    assert columns["convnet/kernel_size"]["domainInterval"] == {"minValue": 3, "maxValue": 7}
    assert columns["model"]["domainDiscrete"] == ["convnet", "resnet18"]
    assert columns["nesterov"]["type"] == "DATA_TYPE_BOOL"
    assert columns["width"]["type"] == "DATA_TYPE_FLOAT64"
    assert columns["dense"]["domainDiscrete"] == ["128", "None"]
    shown = [info["displayName"] for info in experiment["metricInfos"]]
    assert shown[:3] == ["val/search_score", "val/recall", "val/specificity"]


def test_a_trial_has_its_own_hyperparameters_and_no_others(server: Server) -> None:
    rows = sessions(server)
    assert rows["000-known-1"]["hparams"] == {
        "model": "convnet", "lr": 1e-3, "convnet/kernel_size": 5, "dense": "None",
    }  # fmt: skip
    assert rows["001"]["hparams"]["unfreeze_depth"] == 2
    assert rows["001"]["hparams"]["nesterov"] is True
    assert "convnet/kernel_size" not in rows["001"]["hparams"]


def test_the_table_has_the_best_epoch_and_not_the_last(server: Server) -> None:
    values = {
        value["name"]["tag"]: value for value in sessions(server)["000-known-1"]["metricValues"]
    }
    assert values["best/search_score"]["value"] == pytest.approx(0.9)
    assert values["best/recall"]["value"] == pytest.approx(0.91)
    assert values["best/search_score"]["trainingStep"] == 2


def test_a_state_is_tensorboards_status(server: Server) -> None:
    rows = sessions(server)
    status = {name: rows[name]["sessions"][0].get("status", "STATUS_UNKNOWN") for name in rows}
    assert status == {
        "000-known-1": "STATUS_SUCCESS", "001": "STATUS_SUCCESS",
        "002": "STATUS_FAILURE", "003": "STATUS_UNKNOWN",
    }  # fmt: skip


def test_tensorboard_starts_without_complaint(server: Server) -> None:
    log = server.log.read_text().lower()
    unexpected = [
        line
        for line in log.splitlines()
        if any(word in line for word in ("error", "traceback", "importerror", "failed"))
    ]
    assert not unexpected


def test_a_classs_own_metrics_are_curves_and_no_columns(tmp_path: Path) -> None:
    val = {"recall": 0.8, "recall/healthy": 0.7}
    result = {"epoch": 1, "train": {}, "val": val, "search_score": 0.8, "best": True}
    write(tmp_path, started(0, lr=0.1), EpochDone(number=0, result=result))
    assert read_scalars(tmp_path / "000")["val/recall/healthy"] == pytest.approx({1: 0.7})
    (file,) = [f for f in files(tmp_path) if f.parent == tmp_path]
    assert b"best/recall" in file.read_bytes()
    assert b"healthy" not in file.read_bytes()
