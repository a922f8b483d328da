"""What is shipped is the model, whole; what is damaged is named."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from xfer.errors import DataError, ModelFileError, StoreError
from xfer.evaluate.calibration import Calibration, fit_calibration
from xfer.evaluate.predictive import counted, predictive_values
from xfer.evaluate.reliability import measure_reliability
from xfer.evaluate.thresholds import choose_threshold
from xfer.export import export, load_exported
from xfer.models.assembly import assemble
from xfer.recipe import ConvNet, Head, Images, Objective, Pretrained, Recipe, TargetRecall

SIZE = 32
NET = Recipe(
    model=ConvNet(kernels=(4, 8), batch_norm=True, dropout=0.3),
    head=Head(dense=(6,), dropout=0.3),
    lr=1e-3,
)
RECIPES = {
    "convnet": NET,
    "flattened": Recipe(model=ConvNet(kernels=(4,)), head=Head(pool="flatten"), lr=1e-3),
    "frozen": Recipe(model=Pretrained("squeezenet1_1"), lr=1e-3),
    "two stages trained": Recipe(
        model=Pretrained("mobilenet_v2", unfreeze_depth=2, batch_norm="train"), lr=1e-3
    ),
    "all trained": Recipe(model=Pretrained("resnet18", unfreeze_depth=4), lr=1e-3),
}


@dataclass
class TwoClasses:
    images: Images = field(
        default_factory=lambda: Images("somewhere/xrays", positive="ill", size=SIZE)
    )
    interpolation: str = "bilinear"
    classes: tuple[str, ...] = ("well", "ill")
    positive: int | None = 1
    labels: np.ndarray = field(default_factory=lambda: np.array([0, 0, 0, 1] * 6))
    splits: dict[str, np.ndarray] = field(
        default_factory=lambda: {
            "train": np.arange(12), "val": np.arange(12, 20), "test": np.arange(20, 24)
        }
    )  # fmt: skip


def trained(recipe, *, classes=2, channels=3):
    """A net whose every tensor, running statistics included, has left its first value."""
    net = assemble(
        recipe, classes=classes, size=SIZE, channels=channels, seed=7, load_weights=False
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(std=0.1)
                module.num_batches_tracked += 3
        with torch.no_grad():
            for parameter in net.head.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return net.eval()


def chosen():
    scores, labels = np.linspace(0, 1, 40), np.repeat([0, 1], 20)
    return choose_threshold(TargetRecall(0.98), Objective("auroc"), scores, labels)


def ship(folder, recipe=NET, **changes):
    arguments = {"threshold": chosen(), "metrics": {"val": {"recall": 0.9}}} | changes
    data = arguments.pop("data", TwoClasses())
    net = trained(recipe, classes=len(data.classes), channels=data.images.channels)
    return net, export(folder, net, recipe, data, **arguments)


@pytest.mark.parametrize("name", RECIPES)
def test_the_loaded_model_answers_bit_for_bit_without_weights_or_network(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no weights here"))
    net, folder = ship(tmp_path / "best", RECIPES[name])
    loaded = load_exported(folder)
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (5, 3, SIZE, SIZE), dtype=np.uint8)
    )
    with torch.inference_mode():
        assert torch.equal(loaded.net(images), net(images))
    for key, tensor in net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[key], tensor), key
    assert loaded.recipe == RECIPES[name]
    assert not loaded.net.training


def test_all_that_is_needed_to_use_the_model_comes_back(tmp_path):
    metrics = {"val": {"recall": 0.9}, "test": {"auroc": {"value": 0.8, "low": 0.7, "high": 0.9}}}
    _, folder = ship(tmp_path / "best", metrics=metrics)
    loaded = load_exported(folder)
    rule = chosen()
    assert (loaded.classes, loaded.positive) == (("well", "ill"), "ill")
    assert (loaded.images.size, loaded.images.fit, loaded.images.channels) == (SIZE, "squash", 3)
    assert loaded.interpolation == "bilinear"
    assert (loaded.threshold, loaded.supported) == (rule.value, False)
    assert "20 positive images cannot support a recall of 0.98" in loaded.said
    assert loaded.metrics == metrics
    assert loaded.demo is False
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.json", "metrics.json", "model.safetensors", "model_card.md",
        "preprocessing.json", "recipe.json", "threshold.json",
    ]  # fmt: skip


def test_several_classes_have_no_threshold(tmp_path):
    data = TwoClasses(
        classes=("a", "b", "c"), positive=None, images=Images("leaves", size=SIZE, channels=1)
    )
    net, folder = ship(tmp_path / "best", data=data, threshold=None)
    loaded = load_exported(folder)
    images = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.uint8)
    assert (loaded.threshold, loaded.positive, loaded.supported) == (None, None, True)
    with torch.inference_mode():
        assert torch.equal(loaded.net(images), net(images))


@pytest.mark.parametrize(("classes", "positive"), [(("a", "b", "c"), None), (("ill", "well"), 0)])
def test_a_threshold_is_for_the_second_of_two_classes(classes, positive, tmp_path):
    with pytest.raises(DataError, match="a threshold is for two classes, the second one"):
        ship(tmp_path / "best", data=TwoClasses(classes=classes, positive=positive))


def test_exporting_leaves_the_net_as_it_was(tmp_path):
    net = trained(NET)
    net.train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    export(tmp_path / "best", net, NET, TwoClasses(), threshold=chosen(), metrics={})
    assert net.training
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())


def test_preprocessing_says_what_the_net_does_to_pixels(tmp_path):
    _, folder = ship(tmp_path / "best", RECIPES["frozen"])
    said = json.loads((folder / "preprocessing.json").read_text())
    assert said["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert said["std"] == pytest.approx([0.229, 0.224, 0.225])
    assert (said["classes"], said["positive"]) == (["well", "ill"], "ill")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_how_images_are_resized_and_made_square_is_shipped(interpolation, tmp_path):
    images = Images("xrays", positive="ill", size=SIZE, fit="pad")
    data = TwoClasses(images=images, interpolation=interpolation)
    _, folder = ship(tmp_path / "best", data=data)
    said = json.loads((folder / "preprocessing.json").read_text())
    assert (said["fit"], said["interpolation"]) == ("pad", f"{interpolation}, antialiased")
    loaded = load_exported(folder)
    assert (loaded.images.fit, loaded.interpolation) == ("pad", interpolation)


def test_a_folder_from_before_there_was_a_choice_is_bilinear(tmp_path):
    _, folder = ship(tmp_path / "best")
    path = folder / "preprocessing.json"
    said = json.loads(path.read_text())
    said.pop("interpolation")
    path.write_text(json.dumps(said))
    assert load_exported(folder).interpolation == "bilinear"


def test_what_is_not_a_number_is_null_in_strict_json(tmp_path):
    _, folder = ship(tmp_path / "best", metrics={"val": {"auroc": float("nan"), "recall": 1.0}})

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = (folder / "metrics.json").read_text()
    assert json.loads(text, parse_constant=refuse) == {
        "val": {"auroc": None, "recall": 1.0}, "marks": [],
    }  # fmt: skip


def test_marks_are_in_every_file_that_people_read_and_come_back(tmp_path):
    marks = ("Splits kept as given: 1 patient of the test part is also in train.", "Another.")
    _, folder = ship(tmp_path / "best", marks=marks, about={"seed": 3})
    assert json.loads((folder / "metrics.json").read_text())["marks"] == list(marks)
    head = card(folder).split("## ")[0]
    assert all(f"* {mark}" in head for mark in marks)
    loaded = load_exported(folder)
    assert loaded.marks == marks
    assert loaded.metrics == {"val": {"recall": 0.9}}
    rewrite(folder / "metrics.json", marks=None)
    with pytest.raises(ModelFileError, match=r"metrics.json cannot be used: marks must be a list"):
        load_exported(folder)
    (folder / "metrics.json").write_text('{"val": {"recall": 0.9}}')  # as older ones are
    assert load_exported(folder).marks == ()
    with pytest.raises(DataError, match="metrics must be of parts"):
        ship(tmp_path / "other", metrics={"marks": {}})


def test_what_a_threshold_was_chosen_on_is_shipped_with_it(tmp_path):
    said = "90 images of 3 folds, each answered by a model that had not seen it"
    for kept, changes in (("val", {}), (said, {"chosen_on": said}), (None, {"threshold": None})):
        _, folder = ship(tmp_path / "best", **changes)
        assert json.loads((folder / "threshold.json").read_text())["chosen_on"] == kept


# --------------------------------------------------------------------------------------------------
# The calibration


def calibrated():
    odds = np.linspace(-50, 60, 40)
    return fit_calibration(np.column_stack((-odds, odds)), np.repeat([0, 1], 20))


def test_a_calibration_comes_back(tmp_path):
    _, folder = ship(tmp_path / "best", calibration=calibrated())
    assert load_exported(folder).calibration == calibrated()
    _, folder = ship(tmp_path / "best")
    assert load_exported(folder).calibration is None


def test_a_calibration_for_other_classes_is_refused(tmp_path):
    several = fit_calibration(np.eye(3), np.arange(3))
    with pytest.raises(DataError, match="the calibration is for 3 classes, the model has 2"):
        ship(tmp_path / "best", calibration=several)


def test_a_folder_from_before_there_was_a_calibration_has_none(tmp_path):
    _, folder = ship(tmp_path / "best")
    (folder / CALIBRATION).unlink()
    as_format(folder, 1)
    assert load_exported(folder).calibration is None


def test_a_folder_of_a_later_format_is_refused(tmp_path):
    _, folder = ship(tmp_path / "best")
    as_format(folder, 3)
    with pytest.raises(ModelFileError, match="has format 3, this version reads 1 to 2"):
        load_exported(folder)


def as_format(folder: Path, number: int):
    path = folder / MODEL
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["xfer"])
    save_file(load_file(path), path, metadata={"xfer": json.dumps(header | {"format": number})})


# --------------------------------------------------------------------------------------------------
# In place of an old one


def test_a_new_export_takes_the_place_of_the_old_one_and_leaves_nothing_beside(tmp_path):
    _, folder = ship(tmp_path / "best", RECIPES["flattened"])
    (folder / "model.onnx").write_text("of the old model")
    ship(folder, NET)
    assert load_exported(folder).recipe == NET
    assert not (folder / "model.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_kill_between_the_renames_loses_no_model(tmp_path):
    _, folder = ship(tmp_path / "best", RECIPES["flattened"])
    folder.rename(tmp_path / ".best.old")  # as a kill there leaves it
    (tmp_path / ".best.writing").mkdir()
    assert load_exported(folder).recipe == RECIPES["flattened"]
    ship(folder, NET)
    assert load_exported(folder).recipe == NET
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_an_export_that_fails_leaves_the_old_model(tmp_path):
    _, folder = ship(tmp_path / "best", RECIPES["flattened"])
    (tmp_path / ".best.writing").write_text("a file where a folder must be made")
    with pytest.raises(StoreError, match="cannot write the model to"):
        ship(folder, NET)
    assert load_exported(folder).recipe == RECIPES["flattened"]


# --------------------------------------------------------------------------------------------------
# Damage


def rewrite(path: Path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def flip_a_bit(path: Path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def change_tensors(path: Path):
    tensors = load_file(path)
    tensors.popitem()
    save_file(tensors, path)


MODEL, RECIPE, PREPARED, THRESHOLD, CALIBRATION = (
    "model.safetensors", "recipe.json", "preprocessing.json", "threshold.json", "calibration.json",
)  # fmt: skip
SEVERAL = Calibration(
    slope=1.0, intercept=0.0, classes=3, images=9, prevalence=None, ranks=True
)  # fmt: skip


@pytest.mark.parametrize(
    ("file", "harm", "said"),
    [
        (MODEL, Path.unlink, "best lacks model.safetensors; an exported model has"),
        (MODEL, flip_a_bit, "model.safetensors is damaged (its digest does not match)"),
        (MODEL, lambda p: p.write_bytes(p.read_bytes()[:-9]), "model.safetensors is damaged"),
        (MODEL, lambda p: p.write_bytes(b"\x80\x04."), "model.safetensors is damaged"),
        (MODEL, change_tensors, "model.safetensors is damaged (KeyError"),
        (RECIPE, lambda p: p.write_text("{"), "recipe.json is damaged"),
        (RECIPE, lambda p: p.write_text("[]"), "recipe.json is damaged (not a JSON object)"),
        (RECIPE, lambda p: p.write_bytes(b"\xff"), "recipe.json is damaged"),
        (RECIPE, lambda p: rewrite(p, lr=-1), "recipe.json cannot be used: Recipe.lr must be"),
        (RECIPE, lambda p: rewrite(p, kind="Head"), "recipe.json cannot be used"),
        (
            RECIPE,
            lambda p: rewrite(p, head={"kind": "Head"}),
            "model.safetensors does not fit recipe.json: ",
        ),
        (
            PREPARED,
            lambda p: rewrite(p, positive="x"),
            "preprocessing.json cannot be used: positive must be one of ('well', 'ill'), got 'x'",
        ),
        (PREPARED, lambda p: p.write_text("{}"), "preprocessing.json cannot be used: 'size' is"),
        (PREPARED, lambda p: rewrite(p, decoder=-1), "decoded by version -1 of the rules"),
        (
            PREPARED,
            lambda p: rewrite(p, interpolation="nearest"),
            "interpolation must be one of bilinear, bicubic, got 'nearest'",
        ),
        (PREPARED, lambda p: rewrite(p, mean=[0, 0, 0]), "preprocessing.json says mean [0, 0, 0]"),
        (PREPARED, lambda p: rewrite(p, classes=["a"], positive=None), "at least two names"),
        (PREPARED, lambda p: rewrite(p, size=1), "size must be a whole number in [8, 4096], got 1"),
        (THRESHOLD, lambda p: rewrite(p, value=2), "threshold.json cannot be used: value must be"),
        (THRESHOLD, lambda p: rewrite(p, value="x"), "threshold.json cannot be used"),
        (CALIBRATION, Path.unlink, "best lacks calibration.json; export the model again"),
        (CALIBRATION, lambda p: p.write_text("{"), "calibration.json is damaged"),
        (CALIBRATION, lambda p: p.write_text("{}"), "calibration.json is damaged ('calibration')"),
        (
            CALIBRATION,
            lambda p: rewrite(p, calibration={"slope": 1.0}),
            "calibration.json cannot be used: intercept, classes, images, prevalence, ranks of a",
        ),
        (
            CALIBRATION,
            lambda p: rewrite(p, calibration=SEVERAL.to_json()),
            "calibration.json cannot be used: it is for 3 classes, the model has 2.",
        ),
    ],
)
def test_a_damaged_file_is_named(file, harm, said, tmp_path):
    _, folder = ship(tmp_path / "best")
    harm(folder / file)
    with pytest.raises(ModelFileError) as caught:
        load_exported(folder)
    assert said in str(caught.value)


def test_all_missing_files_are_named_together(tmp_path):
    _, folder = ship(tmp_path / "best")
    (folder / MODEL).unlink()
    (folder / THRESHOLD).unlink()
    with pytest.raises(ModelFileError, match=r"best lacks model.safetensors, threshold.json;"):
        load_exported(folder)


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(ModelFileError, match=r"no folder .*nowhere"):
        load_exported(tmp_path / "nowhere")


# --------------------------------------------------------------------------------------------------
# The card


def card(folder):
    return (folder / "model_card.md").read_text()


def test_the_card_tells_numbers_counts_and_limits(tmp_path):
    metrics = {
        "val": {"recall": 0.95, "auroc": float("nan"), "loss": 0.3},
        "test": {"recall": {"value": 0.912, "low": 0.85, "high": 0.95}, "confusion": {"tp": 1}},
    }
    _, folder = ship(tmp_path / "best", metrics=metrics, about={"run": "first", "seed": 3})
    text = card(folder)
    assert "# A model that finds ill" in text
    assert "| metric | val | test |" in text
    assert "| recall | 0.950 | 0.912 (0.85 to 0.95) |" in text
    assert "| auroc | – | – |" in text
    assert "| train | 9 | 3 |" in text
    assert "20 positive images cannot support a recall of 0.98" in text
    assert "Recall was measured on 1 images of ill (`test`)" in text
    assert "* seed: 3" in text
    assert "`xrays`" in text
    assert "somewhere" not in text
    assert "DEMO" not in text


def test_a_model_without_test_numbers_says_so(tmp_path):
    _, folder = ship(tmp_path / "best")
    assert "not measured on images that had no part in choosing it" in card(folder)


@pytest.mark.parametrize(("path", "demo"), [("builtin:phantoms", False), ("somewhere/xrays", True)])
def test_a_demo_says_so_in_the_card_and_when_loaded(path, demo, tmp_path):
    data = TwoClasses(images=Images(path, positive="ill", size=SIZE))
    _, folder = ship(tmp_path / "best", data=data, demo=demo)
    assert "**DEMO, SYNTHETIC IMAGES.**" in card(folder)
    assert load_exported(folder).demo is True


def test_the_card_says_what_the_probabilities_are_worth(tmp_path):
    scores = np.linspace(0.01, 0.99, 100)
    probabilities = np.column_stack((1 - scores, scores))
    measured = measure_reliability(probabilities, (np.arange(100) % 10 < 5).astype(int))
    predicted = predictive_values(counted(49, 50), counted(46, 50))
    metrics = {"val": {"recall": 0.9}, "test": {"recall": 0.9, **measured, **predicted}}
    _, folder = ship(tmp_path / "best", metrics=metrics, calibration=calibrated())
    text = card(folder)
    assert calibrated().said in text
    assert "| ill in use | precision | negative predictive value |" in text
    assert "| 1% | 0.110 (0.05 to 0.24) | 1.000 (1.00 to 1.00) |" in text
    assert f"| brier | {measured['brier']['value']:.3f} (" in text
    assert f"A perfect model would show an `ece` of {measured['ece']['expected']:.3f} (" in text
    assert "--prevalence P" in text
    assert "nan" not in text
    assert "were not calibrated" not in text


def test_the_card_of_a_model_without_calibration_says_so(tmp_path):
    _, folder = ship(tmp_path / "best")
    assert "They were not calibrated" in card(folder)
    assert "--prevalence" not in card(folder)
    assert "Where it is rarer" not in card(folder)
