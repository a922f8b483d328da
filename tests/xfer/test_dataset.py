"""From files to what workers get: once decoded, never again; nothing lost in silence."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from xfer.chunks import blake2b
from xfer.data import DecodeError, decode_image, load_dataset
from xfer.data.audit import audit
from xfer.data.side_by_side import side_by_side
from xfer.errors import DataError
from xfer.recipe import Images
from xfer.store import Store


def pictures(root, *, patients=12, seed=0, kinds=("ill", "well"), each=2, shape=(12, 12)):
    """So many patients of each class, with some images each; returns the root."""
    rng = np.random.default_rng(seed)
    for kind in kinds:
        (root / kind).mkdir(parents=True, exist_ok=True)
        for patient in range(patients):
            for k in range(each):
                pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / kind / f"{kind}{patient}_{k}.png")
    return root


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def asked(root, **changed):
    return Images(str(root), **{"positive": "ill", "size": 8, "patient": r"(.+)_", **changed})


def finding(found, kind):
    (one,) = [f for f in found["findings"] if f["kind"] == kind]
    return one


def test_a_folder_becomes_pixels_labels_and_parts(tmp_path, store):
    root = pictures(tmp_path / "data")
    data, loading = load_dataset(asked(root), store=store)
    assert data.pixels.shape == (48, 8, 8, 3)
    assert (data.classes, data.positive) == (("well", "ill"), 1)
    for i, name in enumerate(data.names):
        assert data.labels[i] == name.startswith("ill")
        expected = decode_image((root / name).read_bytes(), size=8)
        np.testing.assert_array_equal(data.pixels[np.array([i])][0], expected)
    assert {part: len(rows) for part, rows in data.splits.items()} == {
        "train": 32, "val": 8, "test": 8,
    }  # fmt: skip
    assert (loading.images, loading.patients, loading.images_decoded) == (48, 24, 48)
    assert len(loading.made) == 2
    assert loading.summary() == {
        "images": 48, "patients": 24, "skipped": 0, "removed": 0,
        "splits": {
            "train": {"well": 16, "ill": 16}, "val": {"well": 4, "ill": 4},
            "test": {"well": 4, "ill": 4},
        },
    }  # fmt: skip
    batch = data.pixels[data.splits["train"]]
    assert batch.shape == (32, 8, 8, 3)
    for part in data.splits.values():
        assert {data.patients[i] for i in part}.isdisjoint(
            data.patients[i] for i in set(range(48)) - set(part.tolist())
        )


def test_a_second_run_decodes_nothing_and_gets_the_same(tmp_path, store):
    root = pictures(tmp_path / "data")
    seen = []
    first, cold = load_dataset(
        asked(root), store=store, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(done, 48) for done in range(1, 49)]
    second, warm = load_dataset(asked(root), store=Store(tmp_path / "store"))
    assert warm.images_decoded == 0
    assert (warm.digest, second.digest) == (cold.digest, first.digest)
    np.testing.assert_array_equal(second.pixels[np.arange(48)], first.pixels[np.arange(48)])


def test_only_new_images_are_decoded(tmp_path, store):
    root = pictures(tmp_path / "data")
    load_dataset(asked(root), store=store)
    pictures(root, patients=14, seed=1, kinds=("ill",))
    _, loading = load_dataset(asked(root), store=store)
    assert loading.images_decoded == 28  # all of `ill` was drawn anew


def test_another_size_is_decoded_anew(tmp_path, store):
    root = pictures(tmp_path / "data")
    first, _ = load_dataset(asked(root), store=store)
    second, loading = load_dataset(asked(root, size=9), store=store)
    assert loading.images_decoded == 48
    assert first.digest != second.digest


@pytest.mark.parametrize("changed", [{"fit": "pad"}, {"fit": "crop"}, {"channels": 1}])
def test_another_way_of_looking_at_images_is_decoded_anew(tmp_path, store, changed):
    root = pictures(tmp_path / "data", shape=(12, 20))
    first, _ = load_dataset(asked(root), store=store)
    data, loading = load_dataset(asked(root, **changed), store=store)
    assert loading.images_decoded == 48
    assert data.digest != first.digest
    expected = decode_image((root / data.names[5]).read_bytes(), size=8, **changed)
    np.testing.assert_array_equal(data.pixels[np.array([5])][0], expected)


def test_gray_values_are_stored_once_and_not_three_times(tmp_path, store):
    data, _ = load_dataset(asked(pictures(tmp_path / "data"), channels=1), store=store)
    assert data.pixels.nbytes == 48 * 8 * 8
    assert data.pixels[np.arange(5)].nbytes == 5 * 8 * 8


# --------------------------------------------------------------------------------------------------
# Interpolations

BOTH = ("bilinear", "bicubic")


def test_each_interpolation_has_its_own_pixels_and_digest(tmp_path, store):
    root = pictures(tmp_path / "data")
    seen = []
    data, loading = load_dataset(
        asked(root), store=store, interpolations=BOTH,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(done, 96) for done in range(1, 97)]
    assert loading.images_decoded == 96
    assert data.interpolation == "bilinear"
    other = data.interpolated("bicubic")
    assert (other.names, other.contents) == (data.names, data.contents)
    assert other.digest != data.digest
    for i, name in enumerate(data.names):
        raw = (root / name).read_bytes()
        for one, interpolation in ((data, "bilinear"), (other, "bicubic")):
            expected = decode_image(raw, size=8, interpolation=interpolation)
            np.testing.assert_array_equal(one.pixels[np.array([i])][0], expected)
    assert other.interpolated("bilinear").digest == data.digest


def test_bilinear_pixels_have_the_key_and_digest_they_had_before_there_was_a_choice(
    tmp_path, store
):
    root = pictures(tmp_path / "data")
    data, loading = load_dataset(asked(root), store=store)
    [entry] = store.entries()
    assert set(entry.says) == {"what", "size", "fit", "channels", "decoder", "pillow"}
    assert data.digest == blake2b(f"{loading.digest} 8 squash 3".encode())
    both, warm = load_dataset(asked(root), store=store, interpolations=BOTH)
    assert warm.images_decoded == 48  # bicubic ones
    assert (both.digest, warm.digest) == (data.digest, loading.digest)


def test_what_was_not_loaded_cannot_be_had(tmp_path, store):
    data, loading = load_dataset(
        asked(pictures(tmp_path / "data")), store=store, interpolations=("bicubic",)
    )
    assert (data.interpolation, loading.images_decoded) == ("bicubic", 48)
    assert len(store.entries()) == 1
    said = "not decoded with bilinear interpolation, only with bicubic; load_dataset's"
    with pytest.raises(DataError, match=said):
        data.interpolated("bilinear")


@pytest.mark.parametrize("named", [(), ("bilinear", "nearest")])
def test_a_wrong_interpolation_is_the_callers_error(tmp_path, store, named):
    with pytest.raises(ValueError, match=r"interpolations? must"):
        load_dataset(asked(pictures(tmp_path / "data")), store=store, interpolations=named)


def test_what_fails_for_one_interpolation_is_left_out_of_all(tmp_path, store, monkeypatch):
    root = pictures(tmp_path / "data")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(root / "ill/ill0_0.png")
    first, _ = load_dataset(asked(root), store=store)
    assert "ill/ill0_0.png" in first.names
    monkeypatch.setenv("XFER_MAX_PIXELS", "1000")
    data, loading = load_dataset(asked(root), store=store, interpolations=BOTH)
    assert [(s.name, s.kind) for s in loading.skipped] == [("ill/ill0_0.png", "oversized")]
    assert loading.images == len(data.names) == 47
    for one in (data, data.interpolated("bicubic")):
        assert len(one.pixels) == 47
        raw = (root / data.names[-1]).read_bytes()
        expected = decode_image(raw, size=8, interpolation=one.interpolation)
        np.testing.assert_array_equal(one.pixels[np.array([46])][0], expected)


def test_a_pickled_and_sealed_dataset_still_has_every_interpolation(tmp_path, store):
    root = pictures(tmp_path / "data")
    data, _ = load_dataset(asked(root, size=64), store=store, interpolations=BOTH)
    raw = pickle.dumps(data.without("test"))
    assert len(raw) < 10_000
    again = pickle.loads(raw).interpolated("bicubic")
    rows = np.arange(48)
    np.testing.assert_array_equal(again.pixels[rows], data.interpolated("bicubic").pixels[rows])
    assert again.digest == data.interpolated("bicubic").digest


def test_nothing_is_evicted_while_its_dataset_is_in_use(tmp_path, store):
    data, _ = load_dataset(asked(pictures(tmp_path / "data")), store=store, interpolations=BOTH)
    assert store.clear() == 0
    assert data.interpolated("bicubic").pixels[np.arange(3)].shape == (3, 8, 8, 3)


# --------------------------------------------------------------------------------------------------
# Contents and damage


def moved(root):
    (root / "ill/ill0_0.png").rename(root / "ill/ill99_0.png")


def relabelled(root):
    (root / "ill/ill0_0.png").rename(root / "well/ill0_0.png")


def redrawn(root):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / "ill/ill0_0.png")


@pytest.mark.parametrize("change", [moved, relabelled, redrawn, lambda _: None])
def test_the_digest_tells_when_the_data_is_another(tmp_path, store, change):
    root = pictures(tmp_path / "data")
    _, before = load_dataset(asked(root), store=store)
    change(root)
    _, after = load_dataset(asked(root), store=store)
    assert (before.digest == after.digest) == (change not in (moved, relabelled, redrawn))


def test_the_digest_tells_when_the_parts_are_others(tmp_path, store):
    root = pictures(tmp_path / "data")
    _, one = load_dataset(asked(root), store=store, seed=1)
    _, two = load_dataset(asked(root), store=store, seed=2)
    assert one.digest != two.digest


def test_a_pickled_dataset_is_small_and_the_same(tmp_path, store):
    root = pictures(tmp_path / "data")
    data, _ = load_dataset(asked(root, size=64), store=store)
    raw = pickle.dumps(data)
    assert len(raw) < 10_000 < data.pixels.nbytes
    again = pickle.loads(raw)
    np.testing.assert_array_equal(again.pixels[np.arange(48)], data.pixels[np.arange(48)])
    np.testing.assert_array_equal(again.splits["val"], data.splits["val"])


@pytest.mark.parametrize(
    ("positive", "classes"),
    [("ill", ("not ill", "ill")), (None, ("ill", "sick", "well"))],
)
def test_three_classes_become_two_when_one_is_positive(tmp_path, store, positive, classes):
    root = pictures(tmp_path / "data", kinds=("ill", "sick", "well"))
    data, _ = load_dataset(asked(root, positive=positive), store=store)
    assert data.classes == classes
    assert data.positive == (None if positive is None else 1)
    for name, label in zip(data.names, data.labels, strict=True):
        assert classes[label] in (name.split("/")[0], "not ill")


def broken(root, *names, content=b"\x89PNG\r\n\x1a\n broken"):
    for name in names:
        (root / name).write_bytes(content)


def test_a_few_broken_files_are_skipped_and_listed(tmp_path, store):
    root = pictures(tmp_path / "data")
    broken(root, "ill/ill0_0.png", "well/well3_1.png")
    broken(root, "ill/ill1_0.png", content=b"")
    (root / "well/notes.txt").write_text("a note")
    data, loading = load_dataset(asked(root), store=store)
    assert [(s.name, s.kind) for s in loading.skipped] == [
        ("ill/ill0_0.png", "not_image"),
        ("ill/ill1_0.png", "unreadable"),
        ("well/notes.txt", "not_image"),
        ("well/well3_1.png", "not_image"),
    ]
    assert loading.images == len(data.names) == len(data.pixels) == 45
    assert not {"ill/ill0_0.png", "ill/ill1_0.png", "well/well3_1.png"} & set(data.names)
    np.testing.assert_array_equal(
        data.pixels[np.array([0])][0], decode_image((root / data.names[0]).read_bytes(), size=8)
    )
    found = audit(data, loading).to_json()
    assert finding(found, "not_image")["count"] == 3
    assert finding(found, "unreadable")["examples"] == ["ill/ill1_0.png: the file is empty"]


def test_many_broken_files_stop_the_run_with_the_first_ten(tmp_path, store):
    root = pictures(tmp_path / "data")
    broken(root, *[f"ill/ill{i}_0.png" for i in range(12)])
    with pytest.raises(DataError) as caught:
        load_dataset(asked(root), store=store)
    message = str(caught.value)
    assert "12 of 48 images" in message
    assert "up to 5% are skipped" in message
    assert message.count("\n  ill/") == 10
    assert "and 2 more" in message


def test_many_notes_beside_the_images_stop_nothing(tmp_path, store):
    root = pictures(tmp_path / "data")
    for i in range(30):
        (root / f"ill/{i}.json").write_text("{}")
    _, loading = load_dataset(asked(root), store=store)
    assert (loading.images, len(loading.skipped)) == (48, 30)


def test_a_bomb_is_oversized_and_skipped(tmp_path, store, monkeypatch):
    root = pictures(tmp_path / "data")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(root / "ill/ill0_0.png")
    monkeypatch.setenv("XFER_MAX_PIXELS", "1000")
    data, loading = load_dataset(asked(root), store=store)
    assert [s.kind for s in loading.skipped] == ["oversized"]
    assert finding(audit(data, loading).to_json(), "oversized")["count"] == 1


def test_copies_share_a_row_and_are_told(tmp_path, store):
    root = pictures(tmp_path / "data")
    copy = (root / "ill/ill0_0.png").read_bytes()
    broken(root, "ill/ill0_1.png", "well/well5_0.png", content=copy)
    data, loading = load_dataset(asked(root), store=store)
    assert loading.images == 48
    assert loading.images_decoded == 46
    found = audit(data, loading).to_json()
    assert finding(found, "duplicate")["count"] == 2
    conflict = finding(found, "label_conflict")
    assert conflict["count"] == 1
    assert conflict["examples"] == [
        "ill/ill0_0.png (ill) = ill/ill0_1.png (ill) = well/well5_0.png (well)"
    ]


def test_the_audit_counts_parts_and_tells_leaks_and_small_parts(tmp_path, store):
    for part in ("train", "val", "test"):
        pictures(tmp_path / "data" / part, patients=3, seed=len(part))
        pictures(tmp_path / "data" / part, patients=20, kinds=("well",))
    data, loading = load_dataset(asked(tmp_path / "data"), store=store, given="keep")
    found = audit(data, loading).to_json()
    leak = finding(found, "patient_leak")
    assert leak["count"] == 23
    assert "ill0: test, train, val" in leak["examples"]
    assert finding(found, "small_validation")["count"] == 6
    assert finding(found, "imbalance")["examples"] == ["ill"]
    assert found["splits"]["val"] == {
        "images": 46, "patients": 23, "prevalence": 0.1304,
        "classes": {"well": {"images": 40, "patients": 20}, "ill": {"images": 6, "patients": 3}},
    }  # fmt: skip
    for each in found["findings"]:
        assert set(each) == {"kind", "count", "examples", "effect", "action"}


def test_a_quiet_set_has_no_findings(tmp_path, store):
    for number, part in enumerate(("train", "val", "test")):
        root = pictures(tmp_path / "data" / part, patients=75, seed=number, each=2)
        for path in root.rglob("*.png"):
            path.rename(path.with_name(f"{part}{path.name}"))
    data, loading = load_dataset(asked(tmp_path / "data"), store=store)
    assert audit(data, loading).to_json()["findings"] == []


def test_results_come_in_order_and_refusals_among_them():
    def function(i):
        if i % 7 == 3:
            raise DecodeError("unreadable", str(i))
        return i * i

    results = list(side_by_side(function, range(100), threads=4))
    for i, result in enumerate(results):
        if i % 7 == 3:
            assert isinstance(result, DecodeError)
            assert result.reason == str(i)
        else:
            assert result == i * i


def test_another_error_ends_it_all():
    def function(i):
        return 1 // (i - 5)

    with pytest.raises(ZeroDivisionError):
        list(side_by_side(function, range(100), threads=2))


# --------------------------------------------------------------------------------------------------
# Real sets

real = pytest.mark.skipif("XFER_DATA" not in os.environ, reason="XFER_DATA is not set")
DATA = Path(os.environ.get("XFER_DATA", "."))
CHEST = Images(
    str(DATA / "chest_xray"),
    positive="PNEUMONIA",
    size=32,
    patient=r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)",
    subgroup=r"(bacteria|virus)",
)


@real
def test_chest_xray_is_as_its_readme_says(store):
    data, loading = load_dataset(CHEST, store=store)
    assert loading.counts == {
        "train": {"NORMAL": 200, "PNEUMONIA": 200},
        "val": {"NORMAL": 50, "PNEUMONIA": 50},
        "test": {"NORMAL": 50, "PNEUMONIA": 50},
    }
    assert (loading.patients, loading.unmatched, loading.made) == (600, 0, ())
    assert loading.skipped == ()
    positives = {data.subgroups[i] for i in np.flatnonzero(data.labels == 1)}
    negatives = {data.subgroups[i] for i in np.flatnonzero(data.labels == 0)}
    assert (positives, negatives) == ({"bacteria", "virus"}, {None})
    shortcut, small = audit(data, loading).findings
    assert (shortcut.kind, small.kind) == ("shortcut_possible", "small_validation")
    assert "it may be the disease" in shortcut.effect
    assert shortcut.examples[0].startswith("bytes")
    assert not shortcut.refused


@real
def test_pneumoniamnist_is_as_its_readme_says(store):
    images = replace(CHEST, path=str(DATA / "pneumoniamnist.npz"), size=28, channels=1)
    data, loading = load_dataset(images, store=store)
    assert {part: sum(of.values()) for part, of in loading.counts.items()} == {
        "train": 4_698, "val": 524, "test": 624,
    }  # fmt: skip
    assert loading.removed == (
        "10 images were taken out of train: the val part has the same pictures.",
    )
    assert data.classes == ("normal", "pneumonia")
    assert int(data.labels.sum()) == 3_494 + 389 + 390
    kept = load_dataset(images, store=store, given="keep")
    assert (
        "8 of 524 in val have a copy in train"
        in finding(audit(*kept).to_json(), "duplicate")["effect"]
    )
    told = finding(audit(data, loading).to_json(), "duplicate")
    assert "8 of 524 in val had a copy in train" in told["effect"]
    assert told["action"].endswith("were left out: 10 of train.")
    with np.load(images.path) as raw:
        np.testing.assert_array_equal(data.pixels[np.arange(5)][..., 0], raw["train_images"][:5])


@real
@pytest.mark.parametrize("interpolation", BOTH)
@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_real_photographs_look_as_pillow_makes_them(store, fit, interpolation):
    images = Images(str(DATA / "cats_dogs"), positive="cats", size=32, fit=fit)
    data, loading = load_dataset(images, store=store, interpolations=(interpolation,))
    assert loading.skipped == ()
    kernel = Image.Resampling[interpolation.upper()]
    for i in range(0, len(data.names), 100):
        pixels = data.pixels[np.array([i])][0].astype(int)
        with Image.open(DATA / "cats_dogs" / data.names[i]) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        if fit == "crop":
            oracle = np.asarray(ImageOps.fit(upright, (32, 32), kernel))
            assert abs(pixels - oracle).mean() < 1
        squashed = np.asarray(upright.resize((32, 32), kernel))
        if fit == "squash":
            np.testing.assert_array_equal(pixels, squashed)
        if fit == "pad":  # as much light, on as much of the square as the shape leaves
            share = min(upright.size) / max(upright.size)
            assert pixels.sum() / squashed.sum() == pytest.approx(share, abs=0.03)


@real
@pytest.mark.parametrize(
    ("folder", "positive", "parts"),
    [
        ("beans", None, {"train": 228, "val": 57, "test": 105}),
        ("cats_dogs", "cats", {"train": 384, "val": 96, "test": 120}),
        ("smoking", "smoking", {"train": 384, "val": 120, "test": 96}),
    ],
)
def test_other_real_sets_load_with_what_they_lack_cut(store, folder, positive, parts):
    images = Images(str(DATA / folder), positive=positive, size=16)
    data, loading = load_dataset(images, store=store)
    assert {part: len(rows) for part, rows in data.splits.items()} == parts
    assert len(loading.made) == 1
    assert loading.skipped == ()
