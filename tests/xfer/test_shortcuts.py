"""Planted shortcuts are told and named, chance is not, and nobody is on two sides of a fold."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.data import load_dataset
from xfer.data.fact_table import FactTable, fact_table
from xfer.data.facts import Facts
from xfer.data.light import light
from xfer.data.shortcuts import (
    DRAWS,
    ENOUGH_PATIENTS,
    TOLD,
    Shortcut,
    _aurocs,
    _samples,
    facts_only,
    find_shortcut,
    folds_by_patient,
    shortcut_finding,
)
from xfer.evaluate.cuts import auroc, make_cuts
from xfer.recipe import Images
from xfer.store import Store

CLASSES = ("NORMAL", "PNEUMONIA")


def plain_facts(images, seed=0, **changed):
    """Of files that nothing tells apart but chance."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(900, 1500, images), rng.integers(900, 1500, images)
    facts = Facts(
        width=width,
        height=height,
        bytes=(width * height * rng.uniform(0.2, 0.3, images)).astype(np.int64),
        mode=tuple(rng.choice(["L", "RGB"], images).tolist()),
        format=("JPEG",) * images,
        quantization=np.full(images, 736),
        misnamed=np.zeros(images, bool),
        header=np.full(images, -1),
    )
    return replace(facts, **changed)


def taken(facts, rows):
    values = {name: np.array(value)[rows] for name, value in vars(facts).items()}
    names = {name: tuple(values[name].tolist()) for name in ("mode", "format")}
    return Facts(**{**values, **names})


def plain_pixels(images, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (images, 8, 8, 1), dtype=np.uint8)


def people(images, per_patient=2):
    """Each image's patient, and each image's label: one per patient, half and half."""
    patients = [f"p{i // per_patient}" for i in range(images)]
    return patients, np.arange(images) // per_patient % 2


def find(facts, labels, patients, *, pixels=None, seed=0, rows=None, positive=1, classes=CLASSES):
    pixels = plain_pixels(len(labels)) if pixels is None else pixels
    return find_shortcut(
        fact_table(facts, light(pixels)),
        labels,
        patients,
        rows=np.arange(len(labels)) if rows is None else rows,
        positive=positive,
        classes=classes,
        seed=seed,
    )


# --------------------------------------------------------------------------------------------------
# What is told


@pytest.mark.parametrize(("patients", "each"), [(100, 1), (50, 3), (20, 15)])
def test_chance_is_hardly_ever_told(patients, each):
    """Facts and labels are of patients: who has met one knows the other images of his."""
    whose = np.repeat(np.arange(patients), each)
    told = []
    for seed in range(8):
        labels = np.random.default_rng(seed).permutation(np.arange(patients) % 2)[whose]
        facts = taken(plain_facts(patients, seed), whose)
        pixels = plain_pixels(patients, seed)[whose]
        found = find(facts, labels, whose.astype(str).tolist(), pixels=pixels, seed=seed)
        told.append(found.told)
    assert sum(told) <= 1


def wider(labels):
    facts = plain_facts(len(labels), width=np.full(len(labels), 1024) + 10 * labels)
    return replace(facts, height=np.full(len(labels), 1024))


def other_format(labels):
    return plain_facts(len(labels), format=tuple(np.array(["JPEG", "PNG"])[labels].tolist()))


def other_mode(labels):
    return plain_facts(len(labels), mode=tuple(np.array(["L", "RGB"])[labels].tolist()))


def coarser(labels):
    return plain_facts(len(labels), quantization=736 + 300 * labels)


@pytest.mark.parametrize(
    ("plant", "fact", "example"),
    [
        (wider, "width", "width: median 1,024 in NORMAL, 1,034 in PNEUMONIA"),
        (other_format, "format JPEG", "format JPEG: 100.0% of NORMAL, 0.0% of PNEUMONIA"),
        (other_mode, "mode L", "mode L: 100.0% of NORMAL, 0.0% of PNEUMONIA"),
        (coarser, "JPEG quantization", "JPEG quantization: median 736 in NORMAL, 1,036 in"),
    ],
)
def test_a_planted_shortcut_is_told_and_named_as_no_disease(plant, fact, example):
    patients, labels = people(120)
    found = find(plant(labels), labels, patients)
    assert found.told
    assert found.facts == (fact,)
    assert found.made.low > 0.9
    said = shortcut_finding(found)
    assert (said.kind, said.count) == ("shortcut_possible", 120)
    assert said.examples[0].startswith(example)
    assert "which cannot be the disease" in said.effect
    assert fact in said.effect


def test_a_shortcut_that_most_positives_have_is_told():
    patients, labels = people(300)
    seen = np.where(np.random.default_rng(0).random(300) < 0.2, 1 - labels, labels)
    found = find(wider(seen), labels, patients)
    assert found.told
    assert found.facts[0] == "width"
    assert 0.7 < found.auroc.low < found.auroc.value < found.auroc.high < 0.9


def test_contrast_and_bytes_are_told_as_what_may_be_the_disease():
    patients, labels = people(120)
    pixels = plain_pixels(120)
    pixels[labels == 1] //= 2
    said = shortcut_finding(find(plain_facts(120), labels, patients, pixels=pixels))
    assert "it may be the disease" in said.effect
    facts = plain_facts(120)
    facts = replace(facts, bytes=facts.bytes * (1 + labels))
    said = shortcut_finding(find(facts, labels, patients))
    assert "it may be the disease" in said.effect


def test_what_is_not_told_is_no_finding():
    patients, labels = people(120)
    found = find(plain_facts(120), labels, patients)
    assert not found.told
    with pytest.raises(ValueError, match="is not told"):
        shortcut_finding(found)


def test_a_shortcut_of_one_class_of_three_is_told():
    patients = [f"p{i}" for i in range(180)]
    labels = np.arange(180) % 3
    found = find(
        wider((labels == 2).astype(int)), labels, patients, positive=None, classes=("a", "b", "c")
    )
    assert found.told
    assert found.facts[0] == "width"
    assert found.examples[0] == "width: median 1,024 in a, 1,024 in b, 1,034 in c"


def test_test_images_are_not_looked_at():
    patients, labels = people(200)
    rows = np.flatnonzero(np.arange(200) % 5)
    facts, pixels = plain_facts(200), plain_pixels(200)
    found = find(facts, labels, patients, rows=rows, pixels=pixels)
    test = np.flatnonzero(np.arange(200) % 5 == 0)
    labels, width = labels.copy(), facts.width.copy()
    labels[test] = -1
    width[test] = 5
    assert find(replace(facts, width=width), labels, patients, rows=rows, pixels=pixels) == found
    assert found.images == len(rows)


def test_too_few_patients_are_not_asked():
    patients = [f"p{i}" for i in range(60)]
    labels = np.repeat([0, 1], [60 - ENOUGH_PATIENTS + 1, ENOUGH_PATIENTS - 1])
    said = find(wider(labels), labels, patients)
    assert said == (
        "What file facts predict was not asked: 'PNEUMONIA' has 9 patients in train and val, and"
        " 10 are needed."
    )
    labels[0] = 1
    assert isinstance(find(wider(labels), labels, patients), Shortcut)


def test_images_that_are_all_alike_tell_nothing():
    patients, labels = people(80)
    found = find(wider(0 * labels), labels, patients, pixels=np.zeros((80, 8, 8, 1), np.uint8))
    assert not found.told


# --------------------------------------------------------------------------------------------------
# The same answer again


def test_the_same_seed_gives_the_same_answer_and_the_order_of_images_says_nothing():
    patients, labels = people(150, per_patient=3)
    seen = np.where(np.random.default_rng(0).random(150) < 0.3, 1 - labels, labels)
    facts, pixels = wider(seen), plain_pixels(150)
    found = find(facts, labels, patients, pixels=pixels, seed=4)
    assert find(facts, labels, patients, pixels=pixels, seed=4) == found
    assert find(facts, labels, patients, pixels=pixels, seed=5) != found
    order = np.random.default_rng(1).permutation(150)
    whose = [patients[i] for i in order]
    assert find(taken(facts, order), labels[order], whose, pixels=pixels[order], seed=4) == found


# --------------------------------------------------------------------------------------------------
# Folds


@given(
    images=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=30, max_size=120),
    seed=st.integers(0, 99),
)
def test_nobody_is_on_two_sides_of_a_fold(images, seed):
    whose, labels = np.array(images).T
    fold = folds_by_patient(labels, whose, folds=5, seed=seed)
    assert {len(set(fold[whose == patient])) for patient in whose} == {1}
    assert set(fold) <= set(range(5))


@pytest.mark.parametrize("per_patient", [1, 3])
def test_every_fold_has_a_like_share_of_each_class(per_patient):
    patients = np.arange(600) // per_patient
    labels = (patients % 10 < 2).astype(int)
    fold = folds_by_patient(labels, patients, folds=5, seed=0)
    assert set(np.bincount(fold)) == {120}
    assert set(np.bincount(fold[labels == 1])) == {24}


# --------------------------------------------------------------------------------------------------
# The AUROC and its interval


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=2, max_size=60).filter(
        lambda images: len({label for _, label in images}) == 2
    )
)
def test_the_auroc_is_that_of_any_scores(images):
    cell, labels = np.array(images).T
    shares = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])
    counts = np.zeros((1, 6, 2))
    np.add.at(counts, (0, cell, labels), 1)
    oracle = auroc(make_cuts(shares[cell, 1], labels == 1))
    assert _aurocs(counts, shares, 1)[0] == pytest.approx(oracle)


def test_samples_draw_patients_and_not_images():
    """Of five images of a patient three are of his code, and two of one that everybody has."""
    order = np.random.default_rng(0).permutation(200)
    patients = np.repeat(np.arange(40), 5)
    codes = np.where(np.arange(200) % 5 < 3, patients % 2, 2)
    counts = _samples(codes[order], patients[order], 3, seed=0)
    assert counts.shape == (1 + DRAWS, 3)
    assert counts[0].tolist() == [60, 60, 80]
    assert (counts[:, 2] == 80).all()
    assert (counts % [3, 3, 2] == 0).all()
    assert counts[1:, 0].std() == pytest.approx(3 * np.sqrt(40 / 4), rel=0.1)


def test_bytes_of_uncompressed_files_are_no_disease():
    """Of DICOM they are those of size and header: nothing of what is shown."""
    patients, labels = people(200)
    facts = plain_facts(200)
    header = 1_000 + 200 * labels + np.random.default_rng(1).integers(0, 40, 200)
    whole = 2 * facts.width * facts.height + header
    known = find(replace(facts, bytes=whole, header=header), labels, patients)
    assert known.made.low > TOLD
    assert shortcut_finding(known).refused
    assert "which cannot be the disease" in shortcut_finding(known).effect


# --------------------------------------------------------------------------------------------------
# The table, and the control


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (64, 3), (224, 3)])
def test_mean_and_contrast_are_of_the_decoded_pixels(side, channels):
    images, near = 19, 0.02 if side > 50 else 1e-9  # of large images some lines are looked at
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, channels), np.uint8)
    pixels //= np.arange(1, images + 1, dtype=np.uint8)[:, None, None, None]
    table = fact_table(plain_facts(images), light(pixels))
    flat = pixels.reshape(images, -1)
    mean, contrast = (table.values[:, table.names.index(name)] for name in ("mean", "contrast"))
    np.testing.assert_allclose(mean, flat.mean(axis=1), rtol=near)
    np.testing.assert_allclose(contrast, flat.std(axis=1), rtol=near)


def test_what_is_unknown_makes_finite_values():
    zero = np.zeros(2, np.int64)
    facts = plain_facts(
        2, width=zero, height=zero, bytes=np.array([-1, 500]), mode=("", ""), format=("", "")
    )
    table = fact_table(facts, light(plain_pixels(2)))
    assert np.isfinite(table.values).all()
    assert "format unknown" in table.names
    assert table.values[:, table.names.index("bytes per pixel")].tolist() == [-1, 500]


def test_the_control_knows_the_rows_it_is_fitted_on_and_no_others():
    labels = people(120)[1]
    table = fact_table(wider(labels), light(plain_pixels(120)))
    rows, asked = np.arange(80), np.arange(80, 120)
    sealed = labels.copy()
    sealed[80:] = -1
    scores = facts_only(table, sealed, rows=rows, asked=asked, classes=2)
    assert isinstance(table, FactTable)
    assert scores.shape == (40, 2)
    np.testing.assert_array_equal(scores.argmax(axis=1), labels[80:])


# --------------------------------------------------------------------------------------------------
# Real images


@pytest.mark.skipif("XFER_DATA" not in os.environ, reason="XFER_DATA is not set")
def test_of_x_rays_that_are_saved_alike_no_way_of_saving_is_told(tmp_path):
    """Bytes tell them apart, and grow with what is shown."""
    asked = Images(
        str(Path(os.environ["XFER_DATA"]) / "chest_xray"), positive="PNEUMONIA", size=64, channels=1
    )
    dataset, loading = load_dataset(asked, store=Store(tmp_path))
    found = find_shortcut(
        fact_table(loading.facts, loading.light),
        dataset.labels,
        dataset.patients,
        rows=np.concatenate([dataset.splits["train"], dataset.splits["val"]]),
        positive=dataset.positive,
        classes=dataset.classes,
        seed=0,
    )
    assert found.told
    assert found.made == (0.5, 0.5, 0.5)
    assert found.facts[0] == "bytes"
    assert found.auroc.low > TOLD
