"""What the audit says of copies: how many, which, what they do to the numbers, what to do."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfer.data import load_dataset
from xfer.data.audit import audit
from xfer.data.findings import find_small_validation
from xfer.data.phantoms import draw_phantom, plan_phantoms
from xfer.recipe import Images
from xfer.store import Store

KINDS = ("duplicate", "near_duplicate", "label_conflict")
ASKED = Images("chests", positive="PNEUMONIA", size=64, channels=1)


@pytest.fixture
def chests(tmp_path):
    """A folder with train, val and test of 12 different phantoms each: 6 of each class."""
    drawn = {"NORMAL": [], "PNEUMONIA": []}
    for phantom in plan_phantoms(80, seed=5):
        drawn[phantom.label].append(Image.fromarray(draw_phantom(phantom)))
    for number, part in enumerate(("train", "val", "test")):
        for label, images in drawn.items():
            folder = tmp_path / "data" / part / label
            folder.mkdir(parents=True)
            for i, image in enumerate(images[6 * number : 6 * number + 6]):
                image.save(folder / f"{part}{i}.png")
    return tmp_path / "data"


def load(root, given="keep", **changed):
    store = Store(root.parent / "store")
    return load_dataset(replace(ASKED, path=str(root), **changed), store=store, given=given)


def copies(root, **changed):
    """Findings about copies, by kind."""
    found = audit(*load(root, **changed)).to_json()["findings"]
    return {finding["kind"]: finding for finding in found if finding["kind"] in KINDS}


def copy(source, target, **options):
    Image.open(source).save(target, **options)


def test_different_images_have_no_copies(chests):
    assert copies(chests) == {}


def test_files_of_other_formats_with_the_same_pixels_are_duplicates(chests):
    copy(chests / "val/NORMAL/val0.png", chests / "train/NORMAL/copied.bmp")
    copy(chests / "test/PNEUMONIA/test3.png", chests / "train/PNEUMONIA/copied.bmp")
    found = copies(chests)
    assert list(found) == ["duplicate"]
    assert found["duplicate"] == {
        "kind": "duplicate",
        "count": 2,
        "examples": [
            "train/NORMAL/copied.bmp = val/NORMAL/val0.png",
            "train/PNEUMONIA/copied.bmp = test/PNEUMONIA/test3.png",
        ],
        "effect": "2 images repeat another one pixel for pixel."
        " 1 of 12 in val has a copy in train and can be answered from memory: accuracy there may"
        " be up to 8.3 points too high."
        " 1 of 12 in test has a copy in train and can be answered from memory: accuracy there may"
        " be up to 8.3 points too high.",
        "action": "Remove the copies, those in train first.",
    }


def test_a_copy_within_a_part_does_nothing_to_val_and_test(chests):
    copy(chests / "train/NORMAL/train0.png", chests / "train/NORMAL/again.png")
    assert copies(chests)["duplicate"]["effect"] == (
        "1 image repeats another one pixel for pixel. None of them is in train and in val or test."
    )


def test_re_encoded_copies_are_near_duplicates_and_told_apart(chests):
    for i in range(3):
        source = chests / f"test/PNEUMONIA/test{i}.png"
        copy(source, chests / f"train/PNEUMONIA/copy{i}.jpg", quality=60)
    found = copies(chests)
    assert list(found) == ["near_duplicate"]
    assert found["near_duplicate"]["count"] == 3
    example = "train/PNEUMONIA/copy1.jpg = test/PNEUMONIA/test1.png"
    assert found["near_duplicate"]["examples"][1] == example
    assert " 3 of 12 in test have a copy in train" in found["near_duplicate"]["effect"]


def test_one_picture_with_two_labels_is_a_conflict_however_it_was_saved(chests):
    copy(chests / "train/PNEUMONIA/train0.png", chests / "train/NORMAL/same.bmp")
    copy(chests / "train/PNEUMONIA/train1.png", chests / "train/NORMAL/near.jpg", quality=60)
    copy(chests / "train/PNEUMONIA/train2.png", chests / "train/PNEUMONIA/right.bmp")
    found = copies(chests)
    assert {kind: finding["count"] for kind, finding in found.items()} == {
        "duplicate": 2, "near_duplicate": 1, "label_conflict": 2,
    }  # fmt: skip
    assert sorted(found["label_conflict"]["examples"]) == [
        "train/NORMAL/near.jpg (NORMAL) = train/PNEUMONIA/train1.png (PNEUMONIA)",
        "train/NORMAL/same.bmp (NORMAL) = train/PNEUMONIA/train0.png (PNEUMONIA)",
    ]


def test_no_finding_gives_more_than_five_examples(chests):
    for i in range(6):
        copy(chests / f"train/NORMAL/train{i}.png", chests / f"train/PNEUMONIA/copy{i}.bmp")
    found = copies(chests)
    assert [(f["count"], len(f["examples"])) for f in found.values()] == [(6, 5), (6, 5)]


def test_a_copy_that_was_taken_out_is_told_with_what_was_done(chests):
    copy(chests / "val/NORMAL/val0.png", chests / "train/NORMAL/copied.jpg", quality=60)
    data, loading = load(chests, given="clean")
    taken = data.names.index("train/NORMAL/copied.jpg")
    assert all(taken not in rows for rows in data.splits.values())
    (found,) = [f for f in audit(data, loading).to_json()["findings"] if f["kind"] in KINDS]
    assert (found["kind"], found["count"]) == ("near_duplicate", 1)
    of = len(data.splits["val"])
    assert found["effect"].endswith(
        f" 1 of {of} in val had a copy in train and could have been answered from memory."
    )
    assert found["action"] == "Those that stand in a later part too were left out: 1 of train."


real = pytest.mark.skipif("XFER_DATA" not in os.environ, reason="XFER_DATA is not set")
DATA = Path(os.environ.get("XFER_DATA", "."))


@real
@pytest.mark.parametrize("size", [28, 224])
def test_no_copy_is_claimed_of_chest_xray(tmp_path, size):
    root = tmp_path / "data"
    root.symlink_to(DATA / "chest_xray", target_is_directory=True)
    assert copies(root, size=size) == {}


@real
def test_copies_in_pneumoniamnist_are_found(tmp_path):
    images = replace(ASKED, path=str(DATA / "pneumoniamnist.npz"), positive="pneumonia", size=28)
    data, loading = load_dataset(images, store=Store(tmp_path), given="keep")
    found = {f["kind"]: f for f in audit(data, loading).to_json()["findings"]}
    assert set(found) & set(KINDS) == {"duplicate"}
    # 18 twice in train, 8 in train and val (2 of them among the 18), 3 twice in test
    assert found["duplicate"]["count"] == 18 + 8 + 3
    assert "8 of 524 in val have a copy in train" in found["duplicate"]["effect"]


def test_twelve_bits_in_sixteen_are_told_and_all_sixteen_are_not(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        for kind, white in (("NORMAL", 4095), ("PNEUMONIA", 65535)):
            folder = tmp_path / "data" / part / kind
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, white, (64, 64)).astype(np.uint16)
                Image.fromarray(pixels).save(folder / f"{part}{i}.png")
    found = {f.kind: f for f in audit(*load(tmp_path / "data")).findings}
    assert found["dark"].count == 12
    assert all("/NORMAL/" in name for name in found["dark"].examples)
    assert found["dark"].refused


def test_a_test_part_with_few_positives_is_told_with_what_it_can_say(chests):
    found = {f.kind: f for f in audit(*load(chests)).findings}
    assert found["small_test"].count == 6
    assert "may be anything from 0.61 to 1.00" in found["small_test"].effect
    assert not found["small_test"].refused


@pytest.mark.parametrize(
    ("train", "val", "folds", "effect", "action"),
    [
        (90, 40, None, "Validation has 80 images, 40 of them positive", "or --folds 5, which"),
        (90, 40, 3, "Train and val, asked in 3 folds, have 260 images, 130 of them positive", None),
        (110, 40, 3, None, None),  # 150 positives choose, and were asked for by nobody else
    ],
)
def test_whoever_has_folds_is_not_advised_to_take_them(train, val, folds, effect, action):
    parts = [np.repeat([0, 1], count) for count in (train, val)]
    found = find_small_validation(*parts, positive=1, folds=folds)
    if effect is None:
        assert found == []
        return
    [finding] = found
    assert finding.effect.startswith(effect)
    assert finding.count == (40 if folds is None else 130)
    assert ("--folds" in finding.action) == (action is not None)
    assert (action or "if they can be had; intervals") in finding.action


def test_the_audit_of_a_run_with_folds_counts_what_they_ask(chests):
    dataset, loading = load(chests)
    for folds, count in ((None, 6), (3, 12)):
        [small] = [f for f in audit(dataset, loading, folds=folds).findings
                   if f.kind == "small_validation"]  # fmt: skip
        assert small.count == count
