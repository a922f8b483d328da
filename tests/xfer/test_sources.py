"""What a folder, an array file or a name means, and what is said when it means nothing."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from xfer.data import open_source
from xfer.errors import DataError
from xfer.recipe import Images


def picture(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((8, 8), value, np.uint8)
    pixels[0, 0] = len(path.name)
    Image.fromarray(pixels).save(path)
    return path


def tree(root, *names):
    for number, name in enumerate(names):
        picture(root / name, number)
    return root


def opened(path, **asked):
    return open_source(Images(str(path), **{"positive": "ill", **asked}))


def error(path, **asked) -> str:
    with pytest.raises(DataError) as caught:
        opened(path, **asked)
    return str(caught.value)


def test_class_folders_alone_have_no_splits(tmp_path):
    source = opened(tree(tmp_path, "well/a.png", "well/deeper/b.png", "ill/c.png"))
    assert source.classes == ("ill", "well")
    assert source.positive == 0
    assert [(it.name, it.label, it.split) for it in source.items] == [
        ("ill/c.png", 0, None),
        ("well/a.png", 1, None),
        ("well/deeper/b.png", 1, None),
    ]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "VALID", "Testing"), ("TRAIN", "validation", "test")],
)
def test_split_folders_are_found_by_any_usual_name(tmp_path, train, val, test):
    names = [f"{part}/{kind}/{part}.png" for part in (train, val, test) for kind in ("ill", "well")]
    source = opened(tree(tmp_path, *names))
    assert [it.split for it in source.items] == ["train"] * 2 + ["val"] * 2 + ["test"] * 2


@pytest.mark.parametrize("others", [[], ["val"], ["test"]])
def test_train_may_stand_with_any_of_the_others(tmp_path, others):
    parts = ["train", *others]
    source = opened(tree(tmp_path, *(f"{p}/{k}/1.png" for p in parts for k in ("ill", "well"))))
    assert {it.split for it in source.items} == set(parts)


def test_one_folder_too_high_is_followed_and_told(tmp_path):
    tree(tmp_path, "chest/train/ill/1.png", "chest/train/well/1.png")
    source = opened(tmp_path)
    assert source.items[0].name == "train/ill/1.png"
    assert source.notes == (f"The images are one folder deeper: {tmp_path / 'chest'}.",)


def test_what_stands_beside_the_train_folder_is_left_out_and_told(tmp_path):
    tree(tmp_path, "train/ill/1.png", "train/well/1.png", "copy/train/ill/1.png")
    source = opened(tmp_path)
    assert len(source.items) == 2
    assert source.notes == ("Left out, beside the train folder: copy.",)


def test_clutter_is_passed_over_in_silence(tmp_path):
    tree(tmp_path, "ill/1.png", "well/1.png", "__MACOSX/ill/._1.png", ".git/x.png", "ill/.x.png")
    for name in ("ill/.DS_Store", "ill/Thumbs.db", "well/desktop.ini", "read me.txt"):
        (tmp_path / name).write_text("clutter")
    source = opened(tmp_path)
    assert [it.name for it in source.items] == ["ill/1.png", "well/1.png"]
    assert source.skipped == source.notes == ()


def test_images_are_told_by_content_where_the_ending_promises_none(tmp_path):
    tree(tmp_path, "ill/1.png", "well/1.png")
    (tmp_path / "ill/1.png").rename(tmp_path / "ill/scan.dat")
    (tmp_path / "ill/labels.csv").write_text("a,b")
    os.mkfifo(tmp_path / "well/pipe")
    source = opened(tmp_path)
    assert [it.name for it in source.items] == ["ill/scan.dat", "well/1.png"]
    assert [(s.name, s.kind, s.reason) for s in source.skipped] == [
        ("ill/labels.csv", "not_image", "its content is none"),
        ("well/pipe", "not_image", "not a regular file"),
    ]


def test_links_are_followed_but_not_into_another_class(tmp_path):
    tree(tmp_path / "data", "ill/1.png", "well/1.png")
    tree(tmp_path / "elsewhere", "a/2.png")
    (tmp_path / "data/ill/more").symlink_to(tmp_path / "elsewhere/a")
    (tmp_path / "data/ill/loop").symlink_to(tmp_path / "data/ill")
    (tmp_path / "data/well/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/well/beside").symlink_to(tmp_path / "data/ill")
    source = opened(tmp_path / "data")
    assert [it.name for it in source.items] == ["ill/1.png", "ill/more/2.png", "well/1.png"]


def test_a_link_to_nowhere_is_unreadable_when_it_is_read(tmp_path):
    tree(tmp_path, "ill/1.png", "well/1.png")
    (tmp_path / "ill/2.png").symlink_to(tmp_path / "gone.png")
    source = opened(tmp_path)
    with pytest.raises(DataError, match="unreadable: No such file"):
        source.read(1)


def test_a_name_that_is_no_text_can_still_be_written(tmp_path):
    tree(tmp_path, "ill/1.png", "well/1.png")
    odd = os.fsencode(tmp_path / "ill") + b"/caf\xe9.png"
    try:
        (tmp_path / "ill/1.png").rename(os.fsdecode(odd))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = opened(tmp_path)
    assert source.items[0].name == r"ill/caf\xe9.png"
    assert source.read(0)


PATIENT = r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)"


def test_patients_and_subgroups_come_from_the_files_own_name(tmp_path):
    tree(
        tmp_path,
        "ill/person1_bacteria_1.png", "ill/person1_bacteria_2.png", "ill/person1_virus_3.png",
        "well/IM-0012-0001.png", "well/NORMAL2-IM-0012-0001.png", "well/unknown.png",
    )  # fmt: skip
    source = opened(tmp_path, patient=PATIENT, subgroup="(bacteria|virus)")
    assert [(it.patient, it.subgroup) for it in source.items] == [
        ("person1_bacteria", "bacteria"),
        ("person1_bacteria", "bacteria"),
        ("person1_virus", "virus"),
        ("IM-0012", None),
        ("NORMAL2-IM-0012", None),
        ("well/unknown.png", None),
    ]
    assert source.unmatched == 1
    assert source.notes == ("1 of 6 file names do not match `patient`: these images stand alone.",)


@pytest.mark.parametrize("above", ["", "train/"])
def test_patterns_look_into_folders_below_the_class_but_not_above(tmp_path, above):
    names = ("ill_9/patient_01/a.png", "ill_9/patient_01/site_b/a.png", "well_9/patient_02/a.png")
    tree(tmp_path, *(above + name for name in names), f"{above}well_9/a.png")
    patterns = {"patient": r"(?:patient|ill|well|train)_?(\d*)", "subgroup": r"site_(\w)"}
    source = opened(tmp_path, positive="ill_9", **patterns)
    assert [(it.patient, it.subgroup) for it in source.items] == [
        ("01", None), ("01", "b"), (f"{above}well_9/a.png", None), ("02", None),
    ]  # fmt: skip
    assert source.unmatched == 1


def test_a_pattern_without_a_group_gives_all_that_it_matches(tmp_path):
    source = opened(tree(tmp_path, "ill/p12_1.png", "well/p13_1.png"), patient=r"p\d+")
    assert [it.patient for it in source.items] == ["p12", "p13"]


def test_without_a_pattern_each_image_stands_alone(tmp_path):
    source = opened(tree(tmp_path, "ill/p1_1.png", "well/p1_1.png"))
    assert [it.patient for it in source.items] == ["ill/p1_1.png", "well/p1_1.png"]
    assert source.unmatched == 0


def test_the_positive_class_may_be_asked_for_in_other_letters(tmp_path):
    source = opened(tree(tmp_path, "PNEUMONIA/1.png", "NORMAL/1.png"), positive="pneumonia")
    assert source.classes[source.positive] == "PNEUMONIA"
    assert source.notes == ("Positive is 'PNEUMONIA', asked for as 'pneumonia'.",)


def test_other_letters_that_fit_two_classes_fit_none(tmp_path):
    tree(tmp_path, "ill/1.png", "ILL/2.png")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell letters apart")
    assert "There are 'ILL', 'ill'" in error(tmp_path, positive="Ill")


def test_equal_files_have_equal_digests(tmp_path):
    tree(tmp_path, "ill/1.png", "well/2.png")
    (tmp_path / "well/3.png").write_bytes((tmp_path / "ill/1.png").read_bytes())
    source = opened(tmp_path)
    first, second, third = map(source.digest, range(3))
    assert first == third != second


# --------------------------------------------------------------------------------------------------
# What is wrong with it


def test_a_missing_folder_is_named_in_full_with_a_near_one(tmp_path, monkeypatch):
    tree(tmp_path, "chest_xray/ill/1.png")
    monkeypatch.chdir(tmp_path)
    message = error("chest_xrays")
    assert f"no images at {tmp_path / 'chest_xrays'}" in message
    assert f"Did you mean {tmp_path / 'chest_xray'}?" in message
    assert "--data PATH" in message


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"PK")
    assert "is a file" in error(tmp_path / "images.zip")


def test_two_classes_need_a_positive_one(tmp_path):
    message = error(tree(tmp_path, "well/1.png", "very ill/1.png"), positive=None)
    assert "two classes, 'very ill' and 'well'" in message
    assert "--positive well" in message


def test_three_classes_need_none(tmp_path):
    assert opened(tree(tmp_path, "a/1.png", "b/1.png", "c/1.png"), positive=None).positive is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "has no class folders. What fits: ROOT/CLASS/image.jpg"),
        (["1.png", "2.png"], "no class folders; it has images, but outside of class folders"),
        (["ill/1.png"], "there is one class, 'ill'; at least two are needed"),
        (["test/ill/1.png", "test/well/1.png"], "has test but no train folder"),
        (["train/1.png", "test/ill/1.png", "test/well/1.png"], "has no class folders; it has im"),
        (["train/ill/1.png", "training/well/1.png"], "has two train folders: train, training"),
        (
            ["train/ill/1.png", "train/well/1.png", "test/ill/1.png"],
            "the test folder has no class 'well'; it has 'ill'",
        ),
        (
            ["train/ill/1.png", "train/well/1.png", "val/ill/1.png", "val/WELL/1.png"],
            "the val folder has no class 'well'; it has 'WELL', 'ill'",
        ),
        (["well/1.png", "good/1.png"], "positive 'ill' is not a class. There are 'good', 'well'"),
        (["well/1.png", "hill/1.png"], "not a class; did you mean 'hill'? There are"),
        (
            ["ill/1.png", "Normal/1.png", "normal/1.png"],
            "classes 'Normal' and 'normal' differ only in capital letters: give them one name",
        ),
    ],
)
def test_a_tree_that_does_not_fit_is_told_why(tmp_path, names, said):
    assert said in error(tree(tmp_path, *names))


def test_an_empty_class_folder_is_named(tmp_path):
    tree(tmp_path, "train/ill/1.png", "train/well/1.png")
    (tmp_path / "val/ill").mkdir(parents=True)
    (tmp_path / "val/well").mkdir()
    (tmp_path / "val/well/notes.txt").write_text("none yet")
    message = error(tmp_path)
    assert f"class folder {tmp_path / 'val/ill'} has no images" in message
    assert f"class folder {tmp_path / 'val/well'} has no images" in message


@pytest.mark.parametrize(
    ("name", "content"), [("2.DCM", b""), ("2", bytes(128) + b"DICM" + bytes(9))]
)
def test_without_its_extra_dicom_is_refused_by_name_or_content(
    tmp_path, monkeypatch, name, content
):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    tree(tmp_path, "ill/1.png", "well/1.png")
    (tmp_path / "ill" / name).write_bytes(content)
    message = error(tmp_path)
    assert f"ill/{name} is DICOM, and the extra `dicom`, which reads it by pydicom" in message
    assert "run `uv sync --extra dicom` or `pip install pydicom`" in message
    assert "Or export the images as PNG or TIFF" in message


def test_all_problems_are_told_at_once(tmp_path):
    tree(tmp_path, "train/well/1.png", "train/bad/1.png", "test/well/1.png")
    (tmp_path / "train/empty").mkdir()
    message = error(tmp_path)
    assert message.count("; ") >= 3
    for part in ("has no images", "no class 'bad'", "no class 'empty'", "positive 'ill'"):
        assert part in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root can list every folder")
def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path):
    tree(tmp_path, "ill/1.png", "well/1.png", "well/deeper/1.png")
    (tmp_path / "well/deeper").chmod(0)
    try:
        assert "cannot be listed: Permission denied" in error(tmp_path)
    finally:
        (tmp_path / "well/deeper").chmod(0o700)


# --------------------------------------------------------------------------------------------------
# Arrays


def arrays(path, **changed):
    rng = np.random.default_rng(0)
    content = {}
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        content[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        content[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    content |= changed
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


def test_an_npz_gives_images_labels_and_splits(tmp_path):
    source = opened(arrays(tmp_path / "some.npz"), positive="1")
    assert source.classes == ("0", "1")
    assert [it.split for it in source.items] == ["train"] * 8 + ["val"] * 4 + ["test"] * 4
    assert [it.label for it in source.items[:4]] == [0, 1, 0, 1]
    assert source.items[9].name == "val/00001"
    assert source.read(0).shape == (28, 28)
    assert len({source.digest(i) for i in range(16)}) == 16


def test_an_npz_needs_only_train(tmp_path):
    missing = {f"{s}_{w}": None for s in ("val", "test") for w in ("images", "labels")}
    source = opened(arrays(tmp_path / "some.npz", **missing), positive="0")
    assert {it.split for it in source.items} == {"train"}


def test_colour_arrays_and_flat_labels_are_read(tmp_path):
    colour = np.zeros((8, 28, 28, 3), np.uint8)
    path = arrays(tmp_path / "x.npz", train_images=colour, train_labels=np.arange(8) % 2)
    assert opened(path, positive="1").read(0).shape == (28, 28, 3)


@pytest.mark.parametrize(
    ("stem", "positive", "classes"),
    [
        ("pneumoniamnist", "PNEUMONIA", ("normal", "pneumonia")),
        ("PneumoniaMNIST_64", "pneumonia", ("normal", "pneumonia")),
        ("breastmnist_224", "malignant", ("malignant", "normal, benign")),
        ("mine", "1", ("0", "1")),
    ],
)
def test_labels_have_medmnists_published_names(tmp_path, stem, positive, classes):
    assert opened(arrays(tmp_path / f"{stem}.npz"), positive=positive).classes == classes


def test_labels_keep_their_numbers_when_names_sort_otherwise(tmp_path):
    source = opened(arrays(tmp_path / "x.npz", classes=np.array(["well", "ill"])))
    assert source.classes == ("ill", "well")
    assert source.classes[source.items[0].label] == "well"


def test_names_in_the_file_come_before_published_ones(tmp_path):
    path = arrays(tmp_path / "pneumoniamnist.npz", classes=np.array(["well", "ill"]))
    assert set(opened(path).classes) == {"well", "ill"}


def test_more_than_ten_digits_are_in_the_order_of_numbers(tmp_path):
    labels = np.arange(12)
    path = arrays(
        tmp_path / "x.npz",
        train_images=np.zeros((12, 4, 4), np.uint8),
        train_labels=labels,
        **{f"{s}_{w}": None for s in ("val", "test") for w in ("images", "labels")},
    )
    source = opened(path, positive=None)
    assert source.classes == tuple(map(str, range(12)))
    assert [it.label for it in source.items] == list(range(12))


def test_a_patient_pattern_means_nothing_to_arrays_and_that_is_said(tmp_path):
    source = opened(arrays(tmp_path / "x.npz"), positive="1", patient=PATIENT)
    assert source.unmatched == 0
    assert "has no file names for `patient`: each image stands alone" in source.notes[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_images": None, "train_labels": None}, "must have train_images and train_labels"),
        ({"train_labels": None}, "train_images stands alone"),
        ({"val_images": None}, "val_labels stands alone"),
        ({"train_labels": np.zeros((8, 14), int)}, "one label per image, got (8, 14)"),
        ({"train_labels": np.zeros(8)}, "whole numbers from 0, got float64"),
        ({"train_labels": np.full(8, -1)}, "whole numbers from 0"),
        ({"test_labels": np.zeros(5, int)}, "test has 4 images but 5 labels"),
        ({"val_images": np.zeros((0, 9, 9)), "val_labels": np.zeros(0, int)}, "val has no images"),
        ({"train_images": np.zeros((8, 28), np.uint8)}, "must be (n, h, w) or (n, h, w, 3)"),
        ({"test_labels": np.zeros(4, int)}, "test has no image of class '1'"),
        ({"classes": np.array(["one"])}, "classes must be 2 different names or more"),
        ({"classes": np.array(["a", "a"])}, "classes must be 2 different names or more"),
    ],
)
def test_an_npz_that_does_not_fit_is_told_why(tmp_path, changed, said):
    message = error(arrays(tmp_path / "x.npz", **changed), positive="1")
    assert said in message
    assert str(tmp_path / "x.npz") in message


def test_pickled_arrays_are_refused(tmp_path):
    path = arrays(tmp_path / "x.npz", train_images=np.array([{}] * 8, dtype=object))
    assert "cannot be read as an .npz" in error(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_a_broken_npz_is_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert "cannot be read as an .npz" in error(path)


def test_half_an_npz_is_refused(tmp_path):
    path = arrays(tmp_path / "x.npz")
    path.write_bytes(path.read_bytes()[:-500])
    assert "cannot be read as an .npz" in error(path)


# --------------------------------------------------------------------------------------------------
# Built in


def test_digits_are_scikit_learns():
    source = opened("builtin:digits", positive="8")
    assert source.classes == tuple("0123456789")
    assert len(source.items) == 1_797
    assert sum(it.label == 8 for it in source.items) == 174
    assert {it.split for it in source.items} == {None}
    first = source.read(0)
    assert (first.shape, first.dtype) == ((8, 8), np.uint8)
    assert max(source.read(i).max() for i in range(50)) == 255


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("builtin:digit", "did you mean 'builtin:digits'?"),
        ("builtin:digits:7", "does not exist"),
        ("builtin:phantoms:few", "needs N in [20, 100000], got 'few'"),
        ("builtin:phantoms:3", "needs N in [20, 100000], got '3'"),
        ("builtin:brains:3", "builtin:brains:N needs N in [20, 100000], got '3'"),
        ("builtin:brain", "did you mean 'builtin:brains'?"),
        (
            "builtin:",
            "There are builtin:digits, builtin:phantoms, builtin:phantoms:N, "
            "builtin:brains, builtin:brains:N",
        ),
    ],
)
def test_an_unknown_built_in_name_is_told(name, said):
    assert said in error(name)
