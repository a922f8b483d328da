"""The command answers for what it can read, says what it cannot, and never shows a traceback."""

import csv
import io
import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from xfer.answers import shown
from xfer.data.decode import decode_image
from xfer.evaluate.calibration import Calibration, fit_calibration
from xfer.evaluate.thresholds import choose_threshold
from xfer.export import export, load_exported
from xfer.models.assembly import assemble
from xfer.predict import Answer, main, predict
from xfer.recipe import ConvNet, FixedThreshold, Images, Objective, Recipe, TargetRecall

RECIPE = Recipe(model=ConvNet(kernels=(4,)), lr=1e-3)
THRESHOLD = choose_threshold(FixedThreshold(0.5), Objective("mcc"), [0.1, 0.9], [0, 1])


CALIBRATION = Calibration(
    slope=0.3, intercept=-0.2, classes=2, images=90, prevalence=0.4, ranks=True
)  # fmt: skip


def make_run(
    folder, *, classes=("well", "ill"), threshold=THRESHOLD, path="xrays", fit="squash",
    interpolation="bilinear", calibration=None, marks=(),
):  # fmt: skip
    positive = 1 if len(classes) == 2 else None
    data = SimpleNamespace(
        images=Images(path, positive="ill" if positive else None, size=16, channels=1, fit=fit),
        interpolation=interpolation,
        classes=classes,
        positive=positive,
        labels=np.array([0, 1]),
        splits={"train": np.array([0, 1])},
    )
    net = assemble(RECIPE, classes=len(classes), size=16, channels=1, seed=0)
    with torch.no_grad():  # bright images are of the last class, dark ones of the first
        for parameter in net.backbone.parameters():
            parameter.fill_(0.1 if parameter.ndim == 4 else 0.0)
        slope = torch.linspace(-1, 1, len(classes))
        net.head[-1].weight.copy_(slope[:, None].expand_as(net.head[-1].weight))
        net.head[-1].bias.copy_(-slope)
    export(
        folder / "best", net, RECIPE, data, threshold=threshold, metrics={}, marks=marks,
        calibration=calibration,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    for name, value in {"b.png": 250, "a.png": 5, "deeper/c.jpg": 128, ".hidden.png": 1}.items():
        Image.new("L", (20, 24), value).save(folder / name)
    (folder / "notes.txt").write_text("not an image, and not named as one")
    return folder


def rows(capsys):
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_a_folder_is_looked_through_in_order_of_names(run, images, capsys):
    assert main([str(run / "best"), str(images), "--format", "csv"]) == 0
    names = [row["name"] for row in rows(capsys)]
    assert names == [str(images / name) for name in ("a.png", "b.png", "deeper/c.jpg")]


def test_files_are_answered_in_the_order_given(run, images, capsys):
    given = [str(images / name) for name in ("b.png", "a.png", "b.png")]
    assert main([str(run / "best"), *given, "--format", "csv", "--batch-size", "2"]) == 0
    assert [row["name"] for row in rows(capsys)] == given


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_the_probability_is_that_of_the_net_on_the_image_decoded_as_in_training(
    tmp_path, images, fit, interpolation
):
    run = make_run(tmp_path, fit=fit, interpolation=interpolation)
    exported = load_exported(run / "best")
    path = images / "noise.png"
    values = np.random.default_rng(0).integers(0, 256, (40, 24), dtype=np.uint8)
    Image.fromarray(values).save(path)
    (answer,) = predict(exported, [path], device=torch.device("cpu"))
    pixels = decode_image(
        path.read_bytes(), size=16, channels=1, fit=fit, interpolation=interpolation
    )
    with torch.inference_mode():
        logits = exported.net(torch.from_numpy(pixels)[None].permute(0, 3, 1, 2))
    oracle = torch.softmax(logits.double(), dim=1)[0].tolist()
    assert isinstance(answer, Answer)
    assert list(answer.probabilities.values()) == oracle
    assert answer.probability == oracle[1]
    assert answer.decision == ("ill" if oracle[1] >= 0.5 else "well")


def test_the_threshold_decides_and_a_given_one_goes_before_the_models(run, images, capsys):
    bright = str(images / "b.png")
    assert main([str(run / "best"), bright, "--format", "csv"]) == 0
    (own,) = rows(capsys)
    assert (own["decision"], own["threshold"]) == ("ill", "0.5")
    probability = float(own["probability"])
    for threshold, decision in ((probability, "ill"), (np.nextafter(probability, 2), "well")):
        arguments = [
            str(run / "best"),
            bright,
            "--format",
            "csv",
            "--threshold",
            repr(float(threshold)),
        ]
        assert main(arguments) == 0
        assert rows(capsys)[0]["decision"] == decision


# --------------------------------------------------------------------------------------------------
# Calibrated probabilities


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("calibrated"), calibration=CALIBRATION)


def test_probabilities_are_calibrated_and_the_decision_is_made_on_them(calibrated, images):
    exported = load_exported(calibrated / "best")
    raw = load_exported(make_run(images.parent / "raw") / "best")
    paths = [images / name for name in ("a.png", "b.png", "deeper/c.jpg")]
    for before, after in zip(predict(raw, paths), predict(exported, paths), strict=True):
        odds = 0.3 * (np.log(before.probability) - np.log(before.probabilities["well"])) - 0.2
        assert after.probability == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-6)
        assert after.decision == ("ill" if after.probability >= 0.5 else "well")


@pytest.mark.parametrize("prevalence", [0.001, 0.4, 0.9])
def test_another_prevalence_moves_probabilities_and_threshold_and_no_decision(
    prevalence, calibrated, images, capsys
):
    arguments = [str(calibrated), str(images), "--format", "csv"]
    assert main(arguments) == 0
    before = rows(capsys)
    assert main([*arguments, "--prevalence", str(prevalence)]) == 0
    captured = capsys.readouterr()
    after = list(csv.DictReader(io.StringIO(captured.out)))
    ratio = prevalence / (1 - prevalence) / (0.4 / 0.6)
    for one, other in zip(before, after, strict=True):
        for column in ("probability", "threshold"):
            odds = float(one[column]) / (1 - float(one[column])) * ratio
            assert float(other[column]) == pytest.approx(odds / (1 + odds), rel=1e-6)
        assert one["decision"] == other["decision"]
    assert f"where {prevalence:g} of images are ill (calibrated where 0.4 are)" in captured.err
    assert "Decisions stay the same: the threshold moves from 0.5000 to " in captured.err


def test_an_image_on_the_threshold_is_decided_alike_at_every_prevalence(tmp_path, images):
    """Moving both may round them apart."""
    exported = load_exported(make_run(tmp_path / "run", calibration=CALIBRATION) / "best")
    (answer,) = predict(exported, [images / "b.png"])
    on_it = replace(exported, threshold=answer.probability)
    for prevalence in np.linspace(0.001, 0.999, 50):
        (moved,) = predict(on_it, [images / "b.png"], prevalence=float(prevalence))
        assert moved.decision == "ill"


def test_a_threshold_that_is_given_judges_the_probabilities_shown(calibrated, images, capsys):
    bright = str(images / "b.png")
    arguments = [str(calibrated), bright, "--format", "csv", "--prevalence", "0.001"]
    assert main([*arguments, "--threshold", "0.5"]) == 0
    captured = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(captured.out))
    assert float(row["probability"]) < 0.5
    assert (row["decision"], row["threshold"]) == ("well", "0.5")
    assert "Decisions are made by --threshold 0.5." in captured.err


def test_a_prevalence_is_refused_with_several_classes_or_without_a_calibration(
    run, tmp_path, images, capsys
):
    three = fit_calibration(np.eye(3), np.arange(3))
    several = make_run(tmp_path, classes=("a", "b", "c"), threshold=None, calibration=three)
    for folder, said in (
        (several, "--prevalence is for two classes, this model has 3: a, b, c."),
        (run, "--prevalence moves calibrated probabilities, and this model was exported without"),
    ):
        assert main([str(folder), str(images), "--prevalence", "0.1"]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"xfer.predict: {said}")
        assert captured.err.count("\n") == 1
        assert captured.out == ""


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "0.0000"), (3e-94, "3.00e-94"), (0.00012, "1.20e-04"), (0.0123, "0.0123"),
     (0.5, "0.5000"), (0.9998, "0.99980"), (0.9999998, "0.99999980"), (1.0, "1.0000")],
)  # fmt: skip
def test_what_is_next_to_0_or_1_is_not_rounded_to_it(probability, text):
    assert shown(probability) == text


def test_a_table_shows_on_which_side_of_the_threshold_an_image_is(calibrated, images, capsys):
    arguments = [str(calibrated), str(images / "b.png")]
    assert main([*arguments, "--format", "csv"]) == 0
    above = float(np.nextafter(float(rows(capsys)[0]["probability"]), 2))
    assert main([*arguments, "--threshold", repr(above)]) == 0
    _, probability, threshold, decision = capsys.readouterr().out.splitlines()[1].split()
    assert float(probability) < float(threshold)
    assert decision == "well"


def test_the_runs_folder_does_as_well_as_its_best(run, images, capsys):
    outs = []
    for folder in (run, run / "best"):
        assert main([str(folder), str(images)]) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1]


def test_json_is_a_list_with_every_class(run, images, capsys):
    assert main([str(run), str(images / "a.png"), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == str(images / "a.png")
    assert (row["decision"], row["threshold"]) == ("well", 0.5)
    assert row["probability"] == row["probabilities"]["ill"]
    assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_the_table_is_plain_lines(run, images, capsys):
    assert main([str(run), str(images)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "probability", "threshold", "decision"]
    assert [line.split()[0] for line in lines[1:]] == [
        str(images / name) for name in ("a.png", "b.png", "deeper/c.jpg")
    ]
    assert lines[1].split()[2:] == ["0.5000", "well"]


def test_several_classes_are_decided_by_the_highest_probability(tmp_path, images, capsys):
    run = make_run(tmp_path / "run", classes=("a", "b", "c"), threshold=None)
    assert main([str(run), str(images / "b.png"), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["decision"], row["threshold"]) == ("c", None)
    assert row["probability"] == max(row["probabilities"].values())
    assert main([str(run), str(images), "--threshold", "0.3"]) == 2
    assert "--threshold is for two classes, this model has 3: a, b, c" in capsys.readouterr().err


def test_what_cannot_be_read_is_listed_and_the_rest_is_answered(run, images, capsys):
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    missing = str(images / "missing.png")
    assert main([str(run), missing, str(images), "--format", "csv", "--batch-size", "2"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1 + 3
    assert f"not read: {missing}: No such file or directory" in captured.err
    assert f"not read: {images / 'broken.png'}: " in captured.err
    assert captured.err.endswith("2 of 5 images could not be read\n")


def test_nothing_readable_is_a_mistake(run, tmp_path, capsys):
    assert main([str(run), str(tmp_path / "nothing.png")]) == 2
    assert f"no image could be read in {tmp_path / 'nothing.png'}" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(run), str(tmp_path / "empty")]) == 2


def test_a_demo_says_so_and_keeps_the_answers_clean(tmp_path, images, capsys):
    run = make_run(tmp_path / "run", path="builtin:phantoms")
    assert main([str(run), str(images / "a.png"), "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert "DEMO, SYNTHETIC IMAGES" in captured.err
    assert len(json.loads(captured.out)) == 1


def test_marks_stand_before_every_answer_once_and_keep_it_clean(tmp_path, images, capsys):
    kept = "Splits kept as given: 1 patient of the test part is also in train."
    asked = TargetRecall(0.98)
    unsure = choose_threshold(asked, Objective("mcc"), [0.1, 0.9], [0, 1])
    run = make_run(tmp_path / "run", threshold=unsure, marks=(kept, unsure.said))
    assert main([str(run), str(images), "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count(f"Mark: {kept}\n") == 1
    assert captured.err.count(unsure.said) == 1  # the threshold's own is a note already
    assert len(json.loads(captured.out)) == 3
    assert main([str(run), str(images), "--threshold", "0.4"]) == 0
    err = capsys.readouterr().err
    assert f"Mark: {kept}" in err
    assert unsure.said not in err  # another threshold is in force


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prevalence", "0"], "--prevalence: must be a number inside (0, 1), got '0'"),
        (["--prevalence", "1"], "--prevalence: must be a number inside (0, 1), got '1'"),
        (["--prevalence", "10%"], "--prevalence: must be a number inside (0, 1), got '10%'"),
        (["--explain"], "--explain: not built yet"),
        (["--threshold", "1.5"], "--threshold: must be a number in [0, 1], got '1.5'"),
        (["--threshold", "nan"], "--threshold: must be a number in [0, 1], got 'nan'"),
        (["--batch-size", "0"], "--batch-size: must be a whole number of at least 1, got '0'"),
        (["--format", "xml"], "--format: invalid choice"),
        (["--thresh", "0.5"], "unrecognized arguments"),
    ],
)
def test_a_wrong_flag_is_told_and_exits_with_2(arguments, said, run, images, capsys):
    with pytest.raises(SystemExit) as caught:
        main([str(run), str(images), *arguments])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_a_model_is_told_and_exits_with_2(tmp_path, images, capsys):
    assert main([str(tmp_path), str(images)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path} lacks model.safetensors" in said
    assert "Traceback" not in said


def test_an_interruption_exits_with_130(run, images, capsys, monkeypatch):
    class Interrupting(io.StringIO):
        def write(self, text):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdout", Interrupting())
    assert main([str(run), str(images)]) == 130
    assert capsys.readouterr().err == "xfer.predict: interrupted\n"


def test_a_reader_that_has_seen_enough_is_no_error(run, images, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert main([str(run), str(images)]) == 0
