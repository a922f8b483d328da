from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import tiny_recipe

from xfer.exported import load_exported
from xfer.recipe import ConvNet, Head, Objective, Pretrained, TargetRecall, to_json
from xfer.store import Store
from xfer.train_command import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Arguments that train on the digits for two epochs."""
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    recipe = tiny_recipe(model=ConvNet(kernels=(4,)), head=Head(), epochs=2, batch_size=64)
    (tmp_path / "recipe.json").write_text(json.dumps(to_json(recipe)))
    objective = Objective("recall_weighted", threshold=TargetRecall(0.9))
    (tmp_path / "objective.json").write_text(json.dumps(to_json(objective)))
    return {
        "--recipe": str(tmp_path / "recipe.json"),
        "--objective": str(tmp_path / "objective.json"),
        "--data": "builtin:digits",
        "--positive": "8",
        "--size": "8",
        "--channels": "1",
        "--device": "cpu",
        "--out": str(tmp_path / "out"),
    }


def flat(given: dict[str, str]) -> list[str]:
    return [part for pair in given.items() for part in pair]


def test_a_recipe_is_trained_and_its_best_epoch_shipped(given, capsys):
    assert main(flat(given)) == 0
    said = capsys.readouterr()
    assert said.err == ""
    epochs = [line for line in said.out.splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in epochs] == ["1/2", "2/2"]
    assert f"is in {given['--out']}/best" in said.out.splitlines()[-1]
    shipped = load_exported(Path(given["--out"]) / "best")
    assert shipped.recipe.epochs == 2
    assert shipped.threshold is not None
    assert f"at {shipped.threshold:.4g}" in said.out


def test_the_same_command_goes_on_where_it_was(given, capsys):
    assert main(flat(given)) == 0
    first = capsys.readouterr().out
    assert main(flat(given)) == 0
    assert capsys.readouterr().out == first  # the seconds too: nothing was trained again


def test_several_classes_need_no_threshold(given, capsys):
    given.pop("--positive")
    assert main([*flat(given), "--epochs", "1"]) == 0
    assert "epoch 1/1" in capsys.readouterr().out
    assert load_exported(Path(given["--out"]) / "best").threshold is None


def test_images_are_resized_as_those_that_the_backbones_weights_have_seen(given, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for kind in ("ill", "well"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / kind / f"{number}.png")
    model = Pretrained("efficientnet_b0", weights="none")
    recipe = tiny_recipe(model=model, head=Head(), epochs=1)
    Path(given["--recipe"]).write_text(json.dumps(to_json(recipe)))
    given |= {"--data": str(tmp_path / "data"), "--positive": "ill", "--size": "32"}
    assert main(flat(given)) == 0, capsys.readouterr().err
    assert load_exported(Path(given["--out"]) / "best").interpolation == "bicubic"
    [decoded] = Store(tmp_path / "cache").entries()
    assert decoded.says["interpolation"] == "bicubic"


WRONG = {
    "a backbone that there is not": (
        {"--recipe": "UNKNOWN"},
        "'resnet-18' is not a backbone; did you mean 'resnet18'?",
    ),
    "no such recipe": ({"--recipe": "missing.json"}, "cannot read missing.json: No such file"),
    "no recipe in it": ({"--recipe": "OBJECTIVE"}, 'must hold a Recipe, {"kind": "Recipe", ...}'),
    "no JSON": ({"--recipe": __file__}, "is no JSON"),
    "a field that is none": ({"--recipe": "MISSPELT"}, "Recipe has no ['leraning_rate']"),
    "no epochs": ({"--recipe": "ENDLESS"}, "names no epochs; say how many with --epochs N"),
    "a size": ({"--size": "4"}, "Images.size must be a whole number in [8, 4096], got 4"),
    "a seed": ({"--seed": "-1"}, "--seed must be at least 0, got -1"),
    "no such data": ({"--data": "nowhere"}, "nowhere"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_a_message_and_exit_2(given, capsys, tmp_path, case):
    changes, message = WRONG[case]
    recipe = json.loads(Path(given["--recipe"]).read_text())
    (tmp_path / "MISSPELT").write_text(json.dumps({**recipe, "leraning_rate": 1}))
    (tmp_path / "ENDLESS").write_text(json.dumps({**recipe, "epochs": None}))
    unknown = {"kind": "Pretrained", "name": "resnet-18"}
    (tmp_path / "UNKNOWN").write_text(json.dumps({**recipe, "model": unknown}))
    (tmp_path / "OBJECTIVE").write_text(Path(given["--objective"]).read_text())
    made = {k: str(tmp_path / v) if v.isupper() else v for k, v in changes.items()}
    assert main(flat({**given, **made})) == 2
    said = capsys.readouterr().err
    assert said.startswith("xfer.train: ")
    assert message in said


def test_another_recipe_in_the_same_folder_is_refused(given, capsys):
    assert main(flat(given)) == 0
    assert main([*flat(given), "--epochs", "3"]) == 2
    assert "belongs to another run" in capsys.readouterr().err


def test_a_loss_that_is_no_number_is_exit_1(given, capsys, tmp_path):
    recipe = tiny_recipe(
        model=ConvNet(kernels=(4, 8)), optimizer="sgd", lr=10.0, l2=10.0, epochs=50
    )
    (tmp_path / "recipe.json").write_text(json.dumps(to_json(recipe)))
    assert main(flat(given)) == 1
    assert "a lower lr may help" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_command_exits_with_130_and_no_traceback(given):
    command = [sys.executable, "-m", "xfer.train", *flat(given), "--epochs", "1000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            process.send_signal(signal.SIGINT)
            break
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert said == "xfer.train: interrupted; the same command goes on from here\n"


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ([], "2 images of 1 patient were taken out of train"),
        (["--keep-splits"], "Splits kept as given: 1 patient of the test part is also in train"),
        (["--resplit"], "and all is split anew"),
    ],
)
def test_given_parts_are_cleaned_kept_or_cut_anew(given, capsys, tmp_path, flag, said):
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 6), ("test", 6)):
        for kind in ("ill", "well"):
            folder = tmp_path / "parts" / part / kind
            folder.mkdir(parents=True)
            for i in range(count):
                who = "p0" if kind == "ill" and i < 2 and part != "val" else f"{part}{kind}{i}"
                pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{who}_{part}{i}.png")
    given |= {"--data": str(tmp_path / "parts"), "--positive": "ill", "--patient": "^([^_]+)_"}
    recipe = tiny_recipe(model=ConvNet(kernels=(4,)), head=Head(), epochs=1, batch_size=4)
    Path(given["--recipe"]).write_text(json.dumps(to_json(recipe)))
    assert main([*flat(given), *flag]) == 0
    assert said in capsys.readouterr().out
