"""What files say of themselves is read without decoding, and wrong names are told."""

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfer.data import open_source
from xfer.data.facts import misnamed_finding, read_facts, statistics
from xfer.data.items import Item, Source
from xfer.recipe import Images

SAVED = {
    "NORMAL/gray.png": ("L", "PNG", {}),
    "NORMAL/colour.jpg": ("RGB", "JPEG", {"quality": 90}),
    "NORMAL/coarse.jpeg": ("RGB", "JPEG", {"quality": 20}),
    "NORMAL/deep.tif": ("I;16", "TIFF", {}),
    "NORMAL/palette.gif": ("P", "GIF", {}),
    "PNEUMONIA/print.jpe": ("CMYK", "JPEG", {}),
    "PNEUMONIA/clear.webp": ("RGBA", "WEBP", {}),
    "PNEUMONIA/lies.jpg": ("L", "PNG", {}),
    "PNEUMONIA/LIES.TIFF": ("RGB", "BMP", {}),
    "PNEUMONIA/line.pgm": ("L", "PPM", {}),
}
SIZE = 30, 20


def image(mode, size=SIZE):
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels.astype(np.uint16) * 257)
    converted = Image.fromarray(pixels).convert(mode)
    if mode == "RGBA":
        converted.putalpha(90)
    return converted


@pytest.fixture
def source(tmp_path):
    for name, (mode, kind, options) in SAVED.items():
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        image(mode).save(file, kind, **options)
    return open_source(Images(str(tmp_path / "data"), positive="PNEUMONIA"))


def by_name(source, values):
    return {item.name: value for item, value in zip(source.items, values, strict=True)}


def read_all(source, **options):
    return read_facts(source, range(len(source.items)), **options)


def test_size_mode_format_and_bytes_are_the_files_own(source, tmp_path):
    facts = read_all(source)
    assert set(facts.width.tolist()) == {30}
    assert set(facts.height.tolist()) == {20}
    assert by_name(source, facts.mode) == {name: mode for name, (mode, _, _) in SAVED.items()}
    assert by_name(source, facts.format) == {name: kind for name, (_, kind, _) in SAVED.items()}
    sizes = {name: (tmp_path / "data" / name).stat().st_size for name in SAVED}
    assert by_name(source, facts.bytes) == sizes


def test_facts_are_in_the_datasets_order_and_threads_change_nothing(source):
    kept = [7, 2, 5]
    some, whole = read_facts(source, kept), read_all(source, threads=1)
    for name in ("width", "bytes", "mode", "format", "quantization", "misnamed"):
        wanted = [getattr(whole, name)[i] for i in kept]
        assert list(getattr(some, name)) == wanted, name


def test_only_what_promises_another_format_is_misnamed(source):
    misnamed = by_name(source, read_all(source).misnamed)
    assert {name for name, wrong in misnamed.items() if wrong} == {
        "PNEUMONIA/lies.jpg",
        "PNEUMONIA/LIES.TIFF",
    }


@pytest.mark.parametrize(
    ("name", "kind", "misnamed"),
    [
        ("camera.jpg", "MPO", False),
        ("camera.mpo", "JPEG", False),
        ("camera.mpo", "PNG", True),
        ("scan.dcm", "PNG", True),
        ("scan.dcm", "DICOM", False),
        ("scan.png", "DICOM", True),
        ("IM0001", "JPEG", False),
        ("IM0001", "DICOM", False),
        ("slice.0001", "PNG", False),
        ("a.jpg/IM0001", "PNG", False),
        ("train/.jpg", "PNG", False),
        ("train/x.png.JPG", "PNG", True),
    ],
)
def test_a_suffix_promises_a_format_and_no_suffix_promises_nothing(name, kind, misnamed):
    assert facts_of(name, content(kind)).misnamed.tolist() == [misnamed]


def content(kind):
    if kind == "DICOM":
        return bytes(128) + b"DICM" + bytes(300)
    file = io.BytesIO()
    more = {"save_all": True, "append_images": [image("RGB")]} if kind == "MPO" else {}
    image("RGB").save(file, kind, **more)
    return file.getvalue()


def facts_of(name, raw):
    """Of one file or array, without a folder."""
    item = Item(name=name, label=0, split=None, patient=name, subgroup=None)
    source = Source(
        name="one",
        items=(item,),
        classes=("a", "b"),
        positive=None,
        skipped=(),
        notes=(),
        unmatched=0,
        read=lambda _: raw,
        digest=lambda _: "",
    )
    return read_facts(source, [0])


def values(facts):
    return [list(value) for value in vars(facts).values()]


def test_what_nobody_can_name_is_unknown_but_for_its_bytes():
    raw = content("DICOM")[:100]
    assert values(facts_of("scan", raw)) == [[0], [0], [len(raw)], [""], [""], [0], [False], [-1]]


def test_of_dicom_the_header_tells_size_and_mode():
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    from tests.xfer.dicom_files import dicom

    raw = dicom(np.zeros((5, 7), np.uint16), bits=12)
    asked = values(facts_of("scan.dcm", raw))
    header = len(raw) - 2 * 5 * 7
    assert asked == [[7], [5], [len(raw)], ["MONOCHROME2 12"], ["DICOM"], [0], [False], [header]]
    colours = dicom(np.zeros((3, 3, 3), np.uint8))  # 27 bytes of pixels, and one to make them even
    assert facts_of("scan.dcm", colours).header.tolist() == [len(colours) - 28]
    assert facts_of("scan.png", raw).misnamed.all()
    damaged = values(facts_of("scan.dcm", raw[:140]))
    assert damaged == [[0], [0], [140], [""], ["DICOM"], [0], [False], [-1]]


def test_a_file_that_is_gone_is_unknown(source, tmp_path):
    (tmp_path / "data/NORMAL/gray.png").unlink()
    facts = read_all(source)
    gone = [item.name for item in source.items].index("NORMAL/gray.png")
    assert (facts.width[gone], facts.bytes[gone], facts.format[gone]) == (0, -1, "")
    assert not facts.misnamed[gone]
    assert (np.delete(facts.bytes, gone) > 0).all()


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_broken_header_fails_nothing(length):
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"):
        raw = content(kind)[:length]
        assert facts_of("x", raw).bytes.tolist() == [len(raw)]


@pytest.mark.parametrize(
    ("shape", "mode"), [((20, 30), "uint8"), ((20, 30, 1), "uint8"), ((20, 30, 3), "uint8 x 3")]
)
def test_arrays_have_a_size_and_their_type_but_no_file(shape, mode):
    found = facts_of("train/00000", np.zeros(shape, np.uint8))
    assert values(found) == [[30], [20], [-1], [mode], [""], [0], [False], [-1]]


def test_built_in_images_are_not_drawn_again():
    source = open_source(Images("builtin:phantoms:40", positive="PNEUMONIA"))
    drawn = []
    facts = read_all(replace(source, read=drawn.append))
    assert drawn == []
    assert set(facts.bytes.tolist()) == {-1}
    assert len(facts.mode) == 40


def test_coarser_jpegs_have_a_larger_quantization_and_other_files_none(source):
    facts = by_name(source, read_all(source).quantization)
    assert facts["NORMAL/coarse.jpeg"] > 2 * facts["NORMAL/colour.jpg"] > 0
    assert facts["NORMAL/gray.png"] == 0


def test_images_above_pillows_own_limit_have_facts_where_more_was_asked_for(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert facts_of("x.png", content("PNG")).width.tolist() == [30]


def test_statistics_are_of_all_and_of_each_class(source):
    facts = read_all(source)
    labels = np.array([item.label for item in source.items])
    found = statistics(facts, labels, source.classes)
    assert found["all"]["images"] == len(SAVED)
    assert found["all"]["sizes"] == 1
    assert found["classes"]["NORMAL"]["modes"] == {"RGB": 2, "I;16": 1, "L": 1, "P": 1}
    assert found["classes"]["PNEUMONIA"]["width"] == {"least": 30, "median": 30.0, "largest": 30}
    sizes = facts.bytes[labels == 0]
    assert found["classes"]["NORMAL"]["bytes"] == {
        "least": sizes.min(),
        "median": np.median(sizes),
        "largest": sizes.max(),
    }
    counted = [sum(part["formats"].values()) for part in found["classes"].values()]
    assert sum(counted) == len(SAVED)


def test_what_is_unknown_is_in_no_statistics():
    found = statistics(facts_of("x", np.zeros((4, 5), np.uint8)), np.array([0]), ("a", "b"))
    assert found["all"]["bytes"] is None
    assert found["all"]["formats"] == {}
    assert found["classes"]["b"]["width"] is None
    assert found["classes"]["b"]["sizes"] == 0


def test_misnamed_files_are_named_with_what_they_are(source):
    names = [item.name for item in source.items]
    found = misnamed_finding(read_all(source), names)
    assert (found.kind, found.count) == ("misnamed", 2)
    assert sorted(found.examples) == [
        "PNEUMONIA/LIES.TIFF: it is BMP",
        "PNEUMONIA/lies.jpg: it is PNG",
    ]


def test_rightly_named_files_are_no_finding():
    assert misnamed_finding(facts_of("x.png", content("PNG")), ["x.png"]) is None


# --------------------------------------------------------------------------------------------------
# Real images


@pytest.mark.skipif("XFER_DATA" not in os.environ, reason="XFER_DATA is not set")
def test_chest_x_rays_are_rightly_named_until_one_is_not(tmp_path):
    data = tmp_path / "data"
    for label in ("NORMAL", "PNEUMONIA"):
        folder = data / label
        folder.mkdir(parents=True)
        files = sorted((Path(os.environ["XFER_DATA"]) / "chest_xray/test" / label).iterdir())
        for file in files[:12]:
            shutil.copy(file, folder)
    Image.open(file).save(data / "NORMAL" / "saved.jpeg", "PNG")
    source = open_source(Images(str(data), positive="PNEUMONIA"))
    found = misnamed_finding(read_all(source), [item.name for item in source.items])
    assert found.examples == ("NORMAL/saved.jpeg: it is PNG",)
