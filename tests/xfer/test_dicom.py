"""DICOM files mean what their tags say, and PatientID is the patient where nothing else is."""

import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from xfer.data import open_source
from xfer.data.decode import DecodeError, decode_image, looks_like_image
from xfer.data.dicom import pseudonym
from xfer.predict import find_images
from xfer.recipe import Images, Table

pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    RLELossless,
)

from tests.xfer.dicom_files import (  # noqa: E402
    EXPLICIT,
    IMPLICIT,
    dataset,
    dicom,
    lookup_table,
    saved,
)

BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.dstack([BYTES, BYTES.T, 255 - BYTES])


def row(*values, kind=np.int16) -> np.ndarray:
    """The values as the first row of a square, the rest 0."""
    square = np.zeros((len(values), len(values)), kind)
    square[0] = values
    return square


def pixels(raw: bytes, side: int = 16, channels: int = 1) -> np.ndarray:
    decoded = decode_image(raw, size=side, channels=channels)
    return decoded[..., 0] if channels == 1 else decoded


def first_row(raw: bytes, side: int) -> list[int]:
    return pixels(raw, side)[0].tolist()


def refused(raw: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode_image(raw, size=16)
    return caught.value


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, RLELossless], ids=str)
def test_bytes_are_taken_as_they_are(syntax):
    made = dataset(BYTES, syntax=EXPLICIT if syntax == RLELossless else syntax)
    if syntax == RLELossless:
        made.compress(syntax)
    np.testing.assert_array_equal(pixels(saved(made)), BYTES)


def test_the_first_byte_may_come_last():
    made = dataset(BYTES.astype(np.uint16) << 8, syntax=ExplicitVRBigEndian)
    made.PixelData = (BYTES.astype(np.uint16) << 8).astype(">u2").tobytes()
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    expected = np.rint((BYTES.astype(float) * 256) / 65_535 * 255)
    np.testing.assert_array_equal(pixels(file.getvalue()), expected)


@pytest.mark.parametrize(
    ("bits", "stored", "expected"),
    [
        # 255 / 4095 = .06227: 1000 is 62.27
        (12, (0, 1_000, 2_048, 4_095), [0, 62, 128, 255]),
        (16, (0, 257, 32_768, 65_535), [0, 1, 128, 255]),
        (10, (0, 1, 512, 1_023), [0, 0, 128, 255]),
    ],
)
def test_without_a_window_the_bits_that_are_stored_say_what_is_white(bits, stored, expected):
    assert first_row(dicom(row(*stored, kind=np.uint16), bits=bits), 4) == expected


def test_bits_that_are_not_stored_do_not_count():
    assert first_row(dicom(row(0xF000, 0xFFFF, kind=np.uint16), bits=12), 2) == [0, 255]


def test_low_values_of_monochrome1_are_bright():
    raw = dicom(BYTES, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(pixels(raw), 255 - BYTES)
    windowed = {"WindowCenter": 50.5, "WindowWidth": 101}  # 0..100
    raw = dicom(row(0, 25, 100, 200), PhotometricInterpretation="MONOCHROME1", **windowed)
    assert first_row(raw, 4) == [255, 191, 0, 0]  # 255 * 3 / 4 = 191.25


# A CT's: stored value minus 1024 is the Hounsfield unit. Window 40, 400 (C.11.2.1.2.1): from
# 39.5 - 199.5 = -160 to 39.5 + 199.5 = 239; 40 is (40 - 39.5) / 399 + .5 = .50125, 127.8.
def test_rescaled_values_are_seen_through_the_window():
    raw = dicom(
        row(1_024 - 161, 1_024 - 160, 1_024 + 40, 1_024 + 239, 3_000, kind=np.uint16),
        bits=12, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400,
    )  # fmt: skip
    assert first_row(raw, 5) == [0, 0, 128, 255, 255]


def test_a_window_sees_negative_values():
    # From -600.5 - 749.5 = -1350 to 149; -600 is .5 / 1499 + .5, 127.6.
    raw = dicom(row(-2_000, -1_350, -600, 149), WindowCenter=-600, WindowWidth=1500)
    assert first_row(raw, 4) == [0, 0, 128, 255]


def test_of_several_windows_the_first_counts():
    raw = dicom(row(0, 100, 200), WindowCenter=[100.5, 5], WindowWidth=[201, 10])
    assert first_row(raw, 3) == [0, 128, 255]  # 127.5, to the even number


@pytest.mark.parametrize(
    ("function", "expected"),
    # x - 100 over 200 is -1/2, -1/4, 0, 1/2
    # sigmoid: 255 / (1 + e^2) = 30.4, 255 / (1 + e) = 68.6, 127.5, 224.6
    [("LINEAR_EXACT", [0, 64, 128, 255]), ("SIGMOID", [30, 69, 128, 225])],
)
def test_windows_have_the_shape_that_is_asked_for(function, expected):
    raw = dicom(
        row(0, 50, 100, 200), WindowCenter=100, WindowWidth=200, VOILUTFunction=function
    )  # fmt: skip
    assert first_row(raw, 4) == expected


def test_a_window_of_one_value_is_a_step():
    assert first_row(dicom(row(99, 100, 101), WindowCenter=100, WindowWidth=1), 3) == [0, 255, 255]


def test_rescaled_values_without_a_window_have_their_whole_range():
    # Eight signed bits: -128..127, twice and 1 more: -255..255; 0 is stored as -.5, -1 is -1.
    raw = dicom(row(-128, -1, 127, kind=np.int8), RescaleSlope=2, RescaleIntercept=1)
    assert first_row(raw, 3) == [0, 127, 255]


def test_a_negative_slope_turns_the_values_round():
    raw = dicom(row(0, 51, 255, kind=np.uint8), RescaleSlope=-1, RescaleIntercept=255)
    assert first_row(raw, 3) == [255, 204, 0]


def test_lookup_tables_are_followed():
    table = lookup_table([0, 65_535, 257 * 7], first=10, depth=16)
    for tag in ("VOILUTSequence", "ModalityLUTSequence"):
        raw = dicom(row(0, 10, 11, 12, 99), **{tag: table})
        assert first_row(raw, 5) == [0, 0, 255, 7, 7], tag


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescale", [(1, 0), (0.5, -300), (-2, 10)])
def test_pydicoms_own_windows_give_the_same(function, rescale):
    values = np.random.default_rng(0).integers(-2_000, 2_000, (16, 16), dtype=np.int16)
    made = dataset(
        values, WindowCenter=35, WindowWidth=1200, VOILUTFunction=function,
        RescaleSlope=rescale[0], RescaleIntercept=rescale[1],
    )  # fmt: skip
    seen = apply_voi_lut(apply_modality_lut(pixel_array(made), made), made)
    low, high = (end * rescale[0] + rescale[1] for end in (-32_768, 32_767))
    np.testing.assert_allclose(pixels(saved(made)), (seen - low) / (high - low) * 255, atol=0.51)


def test_depth_is_kept_until_the_image_is_square():
    # .44, .44, .44 and .93 of 255: .56 together, and .25 if they were rounded first
    stored = np.tile(np.array([7, 7, 7, 15], np.uint16), (16, 4))
    assert pixels(dicom(stored, bits=12), side=2).tolist() == [[1, 1], [1, 1]]


def test_colour_is_colour():
    np.testing.assert_array_equal(pixels(dicom(COLOUR), channels=3), COLOUR)
    planes = dataset(COLOUR, PlanarConfiguration=1)
    planes.PixelData = COLOUR.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(pixels(saved(planes), channels=3), COLOUR)
    ybr = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
    raw = dicom(ybr, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_allclose(pixels(raw, channels=3).astype(int), COLOUR, atol=3)
    deep = dicom(COLOUR.astype(np.uint16) * 257)
    np.testing.assert_array_equal(pixels(deep, channels=3), COLOUR)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_palette_becomes_colour(depth):
    made = dataset(BYTES, PhotometricInterpretation="PALETTE COLOR")
    kind, scale = (np.uint8, 1) if depth == 8 else (np.uint16, 257)
    table = {"Red": BYTES, "Green": 255 - BYTES, "Blue": np.full_like(BYTES, 9)}
    for name, values in table.items():
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [256, 0, depth])
        data = (values.astype(kind) * scale).tobytes()
        setattr(made, f"{name}PaletteColorLookupTableData", data)
    expected = np.dstack(list(table.values()))
    np.testing.assert_array_equal(pixels(saved(made), channels=3), expected)


def compressed(image: Image.Image, form: str, syntax, values=None, **tags) -> bytes:
    frame = io.BytesIO()
    image.save(frame, form)
    made = dataset(np.asarray(image) if values is None else values, syntax=syntax, **tags)
    made.PixelData = encapsulate([frame.getvalue()])
    made["PixelData"].VR = "OB"
    return saved(made)


def test_jpeg_and_jpeg_2000_are_decompressed():
    raw = compressed(Image.fromarray(BYTES), "JPEG2000", JPEG2000Lossless)
    np.testing.assert_array_equal(pixels(raw), BYTES)
    smooth = Image.fromarray(np.tile(np.arange(16, dtype=np.uint8) * 16, (16, 1)))
    raw = compressed(smooth, "JPEG", JPEGBaseline8Bit)
    np.testing.assert_allclose(pixels(raw).astype(int), np.asarray(smooth), atol=4)


def test_a_compressed_frame_of_another_size_is_refused():
    raw = compressed(Image.new("L", (64, 32)), "JPEG", JPEGBaseline8Bit, values=BYTES)
    assert refused(raw).reason.startswith("it says 16 x 16 pixels, and its JPEG Baseline")


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGExtended12Bit], ids=lambda uid: uid.name)
def test_a_compression_that_nothing_here_reads_is_named_with_what_would(syntax):
    made = dataset(BYTES.astype(np.uint16), bits=12, syntax=syntax)
    made.PixelData = encapsulate([b"\xff\xd8any"])
    error = refused(saved(made))
    assert error.kind == "unreadable"
    assert f"compressed as {syntax.name}; to read them: " in error.reason
    assert "pylibjpeg" in error.reason


def test_run_lengths_of_more_pixels_than_there_are_are_refused():
    made = dataset(BYTES, syntax=RLELossless)
    header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    made.PixelData = encapsulate([header + b"\x81\0" * 100])
    assert "run lengths" in refused(saved(made)).reason


def with_frames(count: int) -> bytes:
    made = dataset(BYTES, NumberOfFrames=count)
    made.PixelData = BYTES.tobytes() * count
    return saved(made)


@pytest.mark.parametrize(
    ("raw", "kind", "said"),
    [
        (with_frames(3), "unreadable", "it has 3 frames; one is read"),
        (dicom(BYTES, PixelData=None), "not_image", "without pixel data (modality DX)"),
        (dicom(BYTES, Rows=None), "unreadable", "Rows"),
        (dicom(BYTES, Columns=0), "unreadable", "it has no pixels"),
        (dicom(BYTES, Rows=60_000, Columns=60_000), "oversized", "60,000 x 60,000"),
        (dicom(BYTES, PhotometricInterpretation=None), "unreadable", "Photometric"),
        (dicom(BYTES, PhotometricInterpretation="HSV"), "unreadable", "HSV"),
        (dicom(BYTES, WindowCenter=1, WindowWidth=0), "unreadable", "at least 1, got 0"),
        (dicom(BYTES, RescaleSlope=0, RescaleIntercept=0), "unreadable", "RescaleSlope is 0"),
        (dicom(BYTES, RescaleSlope="1e99", RescaleIntercept=0), "unreadable", "is 1e+99"),
        (dicom(BYTES)[:-20], "unreadable", "less than expected"),
        (dicom(BYTES)[:300], "not_image", "without pixel data"),
        (bytes(128) + b"DICM", "unreadable", "names no transfer syntax"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_and_says_why(raw, kind, said):
    error = refused(raw)
    assert error.kind == kind
    assert said in error.reason


def test_a_file_that_is_deflated_as_a_whole_is_not_inflated():
    raw = dicom(BYTES, syntax=DeflatedExplicitVRLittleEndian)
    assert pixel_array(pydicom.dcmread(io.BytesIO(raw))).tobytes() == BYTES.tobytes()
    assert "deflated as a whole" in refused(raw).reason


def test_a_header_of_very_many_elements_is_not_read_to_its_end():
    raw = dicom(BYTES)
    before = raw.index(b"\xe0\x7f\x10\0")

    def with_items(count: int) -> bytes:  # of unknown length: to find its end it has to be read
        start, end = struct.pack("<HH2sHI", 0x7FDF, 1, b"SQ", 0, 2**32 - 1), b"\xfe\xff\xdd\xe0"
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 8) + struct.pack("<HH2sH", 9, 0x1000, b"SH", 0)
        return raw[:before] + start + item * count + end + bytes(4) + raw[before:]

    np.testing.assert_array_equal(pixels(with_items(1_000)), BYTES)
    assert refused(with_items(30_000)).reason == "its header has too many elements"


def test_no_warning_of_pydicom_escapes_from_any_thread():
    odd = dataset(BYTES)
    odd.PixelData += bytes(40)  # of which pydicom warns
    raw = saved(odd)
    with pytest.warns(UserWarning, match="excess padding"):
        pixel_array(odd)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: pixels(raw), range(40)):
            np.testing.assert_array_equal(found, BYTES)
    assert warnings.filters == before


# --------------------------------------------------------------------------------------------------
# Folders, tables and patients


def folder(root, **of_name):
    """Files by name, `ill/a_dcm` for ill/a.dcm: a PatientID (None: none), or 'png'."""
    for number, (name, identity) in enumerate(of_name.items()):
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if identity == "png":
            Image.fromarray(BYTES + np.uint8(number)).save(path)
        else:
            path.write_bytes(dicom(BYTES + np.uint8(number), PatientID=identity))
    return root


def opened(path, **asked):
    return open_source(
        Images(path if isinstance(path, Table) else str(path), positive="ill", **asked)
    )


MIXED = {"ill__1_dcm": "A", "ill__2_dcm": " A ", "ill__3_png": "png", "well__4": "B",
         "well__5_dcm": None}  # fmt: skip


def test_patient_id_is_the_patient_and_the_others_stand_alone(tmp_path):
    source = opened(folder(tmp_path, **MIXED))
    assert [item.patient for item in source.items] == [
        pseudonym("A"), pseudonym("A"), "ill/3.png", pseudonym("B"), "well/5.dcm",
    ]  # fmt: skip
    assert source.notes == (
        "Patients are taken from PatientID of 3 DICOM files: 2 patients.",
        "1 of 4 DICOM files without a PatientID: each stands alone.",
    )
    for i in range(5):
        assert decode_image(source.read(i), size=16).shape == (16, 16, 3)


def test_the_id_itself_is_in_nothing_that_is_written(tmp_path):
    source = opened(folder(tmp_path, ill__1_dcm="MRN-4711", well__2_dcm="MRN-4712"))
    assert "471" not in repr((source.items, source.notes, source.skipped))


def test_what_the_space_says_of_patients_wins(tmp_path):
    source = opened(folder(tmp_path, **MIXED), patient=r"/?(\d)")
    assert [item.patient for item in source.items] == list("12345")


def test_one_id_for_all_files_is_no_patient(tmp_path):
    source = opened(folder(tmp_path, ill__1_dcm="ANON", ill__2_dcm="ANON", well__3_dcm="ANON"))
    assert [item.patient for item in source.items] == [item.name for item in source.items]
    assert source.notes == (
        "3 of 3 DICOM files have the same PatientID, and no file has another: it is not used, and "
        "each image stands alone.",
    )


def test_a_table_takes_patients_from_its_column_or_from_the_files(tmp_path):
    folder(tmp_path, **MIXED)
    rows = ["file,label,who", "ill/1.dcm,ill,x", "well/4,well,y", "ill/3.png,ill,x"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    table = Table(str(tmp_path / "labels.csv"), path="file", label="label")
    assert [i.patient for i in opened(table).items] == [
        pseudonym("A"), "ill/3.png", pseudonym("B"),
    ]  # fmt: skip
    named = Table(str(tmp_path / "labels.csv"), path="file", label="label", patient="who")
    assert [i.patient for i in opened(named).items] == ["x", "x", "y"]


def test_a_damaged_header_is_told_when_the_file_is_decoded(tmp_path):
    folder(tmp_path, **MIXED)
    (tmp_path / "ill/1.dcm").write_bytes(dicom(BYTES)[:140])
    (tmp_path / "ill/2.dcm").write_bytes(b"")
    source = opened(tmp_path)
    assert source.items[0].patient == "ill/1.dcm"
    with pytest.raises(DecodeError, match="unreadable"):
        decode_image(source.read(0), size=16)


def test_a_model_is_asked_about_dicom_files_too(tmp_path):
    folder(tmp_path, **MIXED)
    (tmp_path / "ill/notes.txt").write_text("none")
    assert [path.name for path in find_images([tmp_path])] == [
        "1.dcm", "2.dcm", "3.png", "4", "5.dcm",
    ]  # fmt: skip
    assert looks_like_image(tmp_path / "well/4")


def test_where_a_pattern_is_not_found_the_tag_counts(tmp_path):
    source = opened(folder(tmp_path, **MIXED), patient=r"/?([12])\.")
    patients = {item.name.rpartition("/")[2]: item.patient for item in source.items}
    tagged = {item.name.rpartition("/")[2]: item.patient for item in opened(tmp_path).items}
    assert (patients["1.dcm"], patients["2.dcm"]) == ("1", "2")
    assert {name: who for name, who in patients.items() if name[0] not in "12"} == {
        name: who for name, who in tagged.items() if name[0] not in "12"
    }
    assert any("PatientID" in note for note in source.notes)


def test_one_id_for_nearly_all_files_is_no_patient_either(tmp_path):
    named = dict.fromkeys(("ill__1_dcm", "ill__2_dcm", "well__3_dcm", "well__4_dcm"), "ANON")
    source = opened(folder(tmp_path, **named, well__5_dcm=None))
    assert [item.patient for item in source.items] == [item.name for item in source.items]
    assert source.notes[0].startswith("4 of 5 DICOM files have the same PatientID")
