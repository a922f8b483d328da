"""The spaces that come with the project load light and hold no mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.check import check
from search.check.__main__ import main
from search.options import parse
from search.plan import make_plan
from search.space import load_space

ROOT = Path(__file__).parent.parent.parent
SPACES = sorted((ROOT / "spaces").glob("*.py"))
HEAVY = ("torch", "torchvision", "ray", "optuna", "numpy", "tensorboard")


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_space_loads_without_torch_or_ray(path: Path) -> None:
    script = (
        "import json, sys\n"
        "from search.space import load_space\n"
        "load_space(sys.argv[1])\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("flags", [(), ("--image-size", "80"), ("--weights", "none")], ids=" ".join)
@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_space_holds_no_mistake(path: Path, flags: tuple[str, ...]) -> None:
    plan = make_plan(load_space(path), parse([str(path), *flags]), at_hand=[])
    found = check(plan, train_images=128, prevalence=0.25)
    assert found.problems == ()
    assert len(found.samples) == 5


@pytest.mark.parametrize("name", ["pneumonia", "any", "alzheimer", "cats_dogs", "smoking"])
def test_every_backbone_that_a_space_offers_is_found(name: str, tmp_path: Path) -> None:
    path = ROOT / f"spaces/{name}.py"
    plan = make_plan(load_space(path), parse([str(path), "--data", str(tmp_path)]))
    found = check(plan)
    choices = found.ranges["model"].choices
    assert {"squeezenet1_1", "mobilenet_v2", "resnet18"} <= set(choices)
    assert set(found.backbones) == set(choices) - {"convnet"}
    rows = {row.name: row for row in found.hyperparameters}
    assert rows["unfreeze_depth"].range == "0 to 4"
    assert rows["convnet/kernels"].when == "model = convnet"


def test_images_too_small_for_one_backbone_are_refused_by_its_name() -> None:
    path = ROOT / "spaces/pneumonia.py"
    plan = make_plan(load_space(path), parse([str(path), "--image-size", "64", "--data", "/"]))
    [problem] = check(plan).problems
    assert "inception_v3 needs images of at least 75 x 75 pixels, got 64" in problem


def test_any_space_asks_for_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT / "spaces/any.py")]) == 2
    told = capsys.readouterr().err
    assert "path/to/your/images" in told
    assert "--data PATH" in told


def test_a_demo_space_without_images_is_checked_on_phantoms(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert main([str(ROOT / "spaces/pneumonia.py")]) == 0
    out = capsys.readouterr().out
    assert "DEMO, SYNTHETIC IMAGES" in out
    assert "builtin:phantoms" in out
    assert "model | convnet | always" in out


@pytest.mark.slow
def test_study_cs_space_fits_the_brains_that_stand_in(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--data", "builtin:brains", "--known-only", "--strict")
    assert main([str(ROOT / "spaces/alzheimer.py"), *flags]) == 0
    out = capsys.readouterr().out
    assert "1,654 images of builtin:brains:1654" in out
    assert "Positive: AD." in out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("pneumonia", "--data", "chest_xray", "--image-size", "128"), "Positive: PNEUMONIA."),
        (("pneumonia", "--data", "pneumoniamnist.npz"), "Positive: pneumonia."),
        (("any", "--data", "smoking", "--positive", "smoking"), "Positive: smoking."),
        (("any", "--data", "beans"), "healthy"),
        (("beans", "--data", "beans"), "healthy"),
        (("cats_dogs", "--data", "cats_dogs"), "Positive: dogs."),
        (("smoking", "--data", "smoking"), "Positive: smoking."),
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_the_spaces_fit_real_images(
    flags: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = os.environ.get("XFER_DATA")
    if data is None:
        pytest.skip("XFER_DATA is not set: no real images")
    name, _, folder, *rest = flags
    space = str(ROOT / f"spaces/{name}.py")
    assert main([space, "--data", str(Path(data) / folder), *rest]) == 0
    assert told in capsys.readouterr().out
