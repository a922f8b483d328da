"""What a row of a table means, and what is said when it means nothing."""

import csv
import json
import sys

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from xfer.data import load_dataset, open_source
from xfer.errors import DataError, RecipeError
from xfer.recipe import Images, Table, from_json, to_json
from xfer.store import Store

HEADER = ("file", "diagnosis", "person", "part", "site")
COLUMNS = {"path": "file", "label": "diagnosis"}
ALL = {**COLUMNS, "patient": "person", "split": "part", "subgroup": "site"}
ROWS = [
    ("a/1.png", "ill", "p1", "train", "north"),
    ("a/2.png", "well", "p2", "Training", ""),
    ("b/3.png", "ill", "", "VALID", "south"),
    ("b/4.png", "well", "p4", "val", ""),
    ("5.png", "ill", "p5", "test", ""),
    ("6.png", "well", "p5", "testing", ""),
]


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def written(folder, rows=ROWS, *, header=HEADER, name="labels.csv", delimiter=",", **how):
    """A table, and the images that it names."""
    for row in rows:
        if row and str(row[0]).endswith(".png") and ".." not in row[0]:
            picture(folder / row[0].replace("\\", "/"))
    how = {"encoding": "utf-8", **how}
    with (folder / name).open("w", newline="", **how) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return folder / name


def opened(file, *, columns=COLUMNS, root=None, **asked):
    table = Table(str(file), root=root and str(root), **columns)
    return open_source(Images(table, **{"positive": "ill", **asked}))


def error(file, **asked) -> str:
    with pytest.raises(DataError) as caught:
        opened(file, **asked)
    return str(caught.value)


def test_every_column_says_what_it_is_asked_for(tmp_path):
    source = opened(written(tmp_path), columns=ALL)
    assert (source.name, source.classes, source.positive) == (
        str(tmp_path / "labels.csv"), ("ill", "well"), 0,
    )  # fmt: skip
    assert [(it.name, it.label, it.split, it.patient, it.subgroup) for it in source.items] == [
        ("5.png", 0, "test", "p5", None),
        ("6.png", 1, "test", "p5", None),
        ("a/1.png", 0, "train", "p1", "north"),
        ("a/2.png", 1, "train", "p2", None),
        ("b/3.png", 0, "val", "b/3.png", "south"),
        ("b/4.png", 1, "val", "p4", None),
    ]
    said = "1 of 6 images have no patient in column 'person': they stand alone."
    assert source.notes == (said,)
    assert source.read(2) == (tmp_path / "a/1.png").read_bytes()


def test_path_and_label_are_enough(tmp_path):
    source = opened(written(tmp_path))
    assert {it.split for it in source.items} == {None}
    assert [it.patient for it in source.items] == [it.name for it in source.items]
    assert {it.subgroup for it in source.items} == {None}
    assert source.notes == source.skipped == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiter_and_byte_order_mark_change_nothing(tmp_path, delimiter, encoding):
    rows = [("a, b; ä.png", "sehr\tkrank, ja", "x;y,z"), ("2.png", "ill", "p\n2")]
    file = written(tmp_path, rows, header=HEADER[:3], delimiter=delimiter, encoding=encoding)
    source = opened(file, columns={**COLUMNS, "patient": "person"})
    assert [(it.name, source.classes[it.label], it.patient) for it in source.items] == [
        ("2.png", "ill", "p\n2"),
        ("a, b; ä.png", "sehr\tkrank, ja", "x;y,z"),
    ]


def test_parquet_and_csv_say_the_same(tmp_path):
    rows = [("1.png", 1, 7), ("2.png", 0, None), ("3.png", 0, 7)]
    columns = dict(zip(HEADER, zip(*rows, strict=True), strict=False))
    parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet")
    file = written(tmp_path, rows, header=HEADER[:3])
    how = {"columns": {**COLUMNS, "patient": "person"}, "positive": "1"}
    there, here = opened(tmp_path / "labels.parquet", **how), opened(file, **how)
    assert there.items == here.items
    assert there.classes == ("0", "1")
    assert [it.patient for it in there.items] == ["7", "2.png", "7"]
    (tmp_path / "labels.parquet").rename(tmp_path / "labels.data")  # told by content
    assert opened(tmp_path / "labels.data", **how).items == here.items


def test_the_order_of_rows_does_not_matter(tmp_path):
    first = opened(written(tmp_path)).items
    assert opened(written(tmp_path, ROWS[::-1])).items == first


def test_empty_lines_and_white_space_do_not_count(tmp_path):
    picture(tmp_path / "1.png")
    picture(tmp_path / "2.png")
    file = tmp_path / "labels.csv"
    file.write_text("\n file , diagnosis\n 1.png , ill\n\n , \n2.png,well \n")
    source = opened(file)
    assert [(it.name, source.classes[it.label]) for it in source.items] == [
        ("1.png", "ill"), ("2.png", "well"),
    ]  # fmt: skip


def test_files_are_found_below_the_root_or_where_an_absolute_path_says(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "tables").mkdir()
    rows = [("1.png", "ill"), (str(elsewhere / "2.png"), "well"), (str(tmp_path / "3.png"), "ill")]
    file = written(tmp_path / "tables", rows, header=HEADER[:2])
    (tmp_path / "tables/1.png").rename(tmp_path / "1.png")
    source = opened(file, root=tmp_path)
    assert [it.name for it in source.items] == ["1.png", "3.png", "elsewhere/2.png"]
    other = opened(written(tmp_path / "tables", rows, header=HEADER[:2]))
    assert [it.name for it in other.items] == sorted(["1.png", *(row[0] for row in rows[1:])])
    assert [bool(other.read(i)) for i in range(3)] == [True] * 3


def test_backslashes_are_separators(tmp_path):
    source = opened(
        written(tmp_path, [("a\\1.png", "ill"), ("a/2.png", "well")], header=HEADER[:2])
    )
    assert [it.name for it in source.items] == ["a/1.png", "a/2.png"]
    assert source.read(0)


def test_relative_tables_lie_in_the_working_directory(tmp_path, monkeypatch):
    written(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert opened("labels.csv").name == str(tmp_path / "labels.csv")


def test_patterns_look_into_paths_where_there_is_no_column(tmp_path):
    rows = [("p1/x.png", "ill"), ("p2/x.png", "well"), ("p2/y.png", "well"), ("z.png", "ill")]
    file = written(tmp_path, rows, header=HEADER[:2])
    source = opened(file, patient=r"(p\d+)/", subgroup="[xy]")
    assert [(it.patient, it.subgroup) for it in source.items] == [
        ("p1", "x"), ("p2", "x"), ("p2", "y"), ("z.png", None),
    ]  # fmt: skip
    assert source.notes == ("1 of 4 file names do not match `patient`: these images stand alone.",)


def test_rows_without_a_split_count_as_train_and_that_is_said(tmp_path):
    rows = [(*row[:3], "" if row[3] == "Training" else row[3], "") for row in ROWS]
    source = opened(written(tmp_path, rows), columns={**COLUMNS, "split": "part"})
    assert [it.split for it in source.items if it.name == "a/2.png"] == [None]
    assert source.notes == ("1 of 6 images have no split: they count as train.",)


def test_a_file_that_stands_twice_the_same_counts_once_and_that_is_said(tmp_path):
    file = written(tmp_path, [*ROWS, ("a/../a/1.png", *ROWS[0][1:])])
    source = opened(file, columns=ALL)
    assert len(source.items) == 6
    assert "1 of 7 rows of labels.csv repeat an earlier one and count once." in source.notes


def test_a_table_is_loaded_like_a_folder(tmp_path):
    rows = [(f"{i}.png", "ill" if i % 3 else "well", f"p{i // 2}") for i in range(40)]
    file = written(tmp_path, rows, header=HEADER[:3])
    (tmp_path / "7.png").write_bytes(b"damaged")
    (tmp_path / "9.png").unlink()
    table = Table(str(file), **COLUMNS, patient="person")
    images = Images(table, positive="ill", size=8)
    data, loading = load_dataset(images, store=Store(tmp_path / "store"))
    assert [(skip.name, skip.kind) for skip in loading.skipped] == [
        ("7.png", "not_image"), ("9.png", "unreadable"),
    ]  # fmt: skip
    assert (loading.images, loading.patients) == (38, 20)
    side = {data.patients[i]: part for part, rows in data.splits.items() for i in rows}
    for part, positions in data.splits.items():
        assert {side[data.patients[i]] for i in positions} == {part}


# --------------------------------------------------------------------------------------------------
# What is wrong with it


def test_files_that_do_not_exist_are_skipped_as_long_as_they_are_few(tmp_path):
    rows = [(f"{i}.png", "ill" if i % 2 else "well") for i in range(20)]
    file = written(tmp_path, rows, header=HEADER[:2])
    for i in range(3):
        (tmp_path / f"{i}.png").unlink()
    source = opened(file)
    assert len(source.items) == 17
    assert [(s.name, s.kind, s.reason) for s in source.skipped] == [
        (f"{i}.png", "unreadable", "No such file or directory") for i in range(3)
    ]
    (tmp_path / "3.png").unlink()
    message = error(file)
    assert "4 of 20 files in column 'file' (path) cannot be used; up to 5% are skipped" in message
    assert f"looked for below {tmp_path}; root=... in Table" in message
    assert "\n  line 2: 0.png: No such file or directory" in message
    assert message.endswith("\n  and 1 more.")


def test_what_is_no_image_is_told_by_content(tmp_path):
    file = written(tmp_path, [*ROWS, ("labels.csv", "ill", "", "train", ""), (".", "ill", *"   ")])
    assert [(s.name, s.reason) for s in opened(file).skipped] == [
        (".", "not a regular file"),
        ("labels.csv", "its content is none"),
    ]


def test_without_its_extra_dicom_is_refused_as_such(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    rows = [*ROWS, *((f"scans/{i}.dcm", "ill", "", "", "") for i in range(9))]
    file = written(tmp_path, rows)
    (tmp_path / "scans").mkdir()
    for row in rows[6:]:
        (tmp_path / row[0]).write_bytes(b"any")
    message = error(file)
    assert message.startswith(
        f"{file}: 9 files are DICOM (the first is scans/0.dcm), and the extra"
    )


def test_a_class_or_a_part_that_lost_all_its_files_is_named(tmp_path):
    file = written(tmp_path, [*ROWS, ("gone", "odd", "", "", "")], header=HEADER)
    assert "none of the files of class 'odd' can be used" in error(file)
    file = written(tmp_path, ROWS[:-1])
    message = error(file, columns={**COLUMNS, "split": "part"})
    assert "test has no image of class 'well'" in message


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (("File", *HEADER[1:]), "it has no column 'file' (path); did you mean 'File'?"),
        (("x", "diagnose", *HEADER[2:]), "no column 'diagnosis' (label); did you mean 'diagnose'?"),
        (
            ("x", "y", "z", "t", "u"),
            "no column 'file' (path); it has no column 'diagnosis' (label)",
        ),
        (("x", "y", "z", "t", "u"), "its columns are 'x', 'y', 'z', 't', 'u'"),
        (("file", "diagnosis", "file", "a", "b"), "labels.csv: column 'file' (path) stands 2 t"),
    ],
)
def test_missing_columns_are_named_with_those_there_are(tmp_path, header, said):
    assert said in error(written(tmp_path, header=header))


def test_all_problems_are_told_at_once_with_their_lines(tmp_path):
    rows = [
        ("1.png", "ill", "", "train", ""),
        ("1.png", "well", "", "train", ""),
        ("2.png", "", "", "dev", ""),
        ("", "well", "", "dev", ""),
        ("../3.png", "ill", "", "holdout", ""),
        ("4.png", "ill"),
        ("5.png", "well", "p1", "test", ""),
        ("5.png", "well", "p2", "test", ""),
    ]
    message = error(written(tmp_path, rows), columns=ALL, positive="sick")
    for said in (
        "1 of 8 rows do not have the header's 5 cells (line 7)",
        "column 'file' (path) is empty in 1 of 7 rows: line 5",
        "column 'diagnosis' (label) is empty in 1 of 7 rows: line 4",
        "column 'part' (split) has 'dev' (lines 4 and 1 more), 'holdout' (line 6); it may have",
        f"column 'file' (path) leads out of {tmp_path} in line 6",
        "1 file stands in several rows with different labels: 1.png ('ill' and 'well', lines 2, 3)",
        "several rows with different splits, patients or subgroups: 5.png (lines 8, 9)",
        "positive 'sick' is not a class. There are 'ill', 'well'",
    ):
        assert said in message


def test_lines_are_those_of_the_file(tmp_path):
    file = written(tmp_path)
    file.write_text('\n"file","diagnosis"\n"1\n.png","ill"\n\n2.png,\n')
    assert "(label) is empty in 1 of 2 rows: line 6" in error(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; its first line must name the columns."),
        (b"\n \n", "is empty; its first line must name the columns."),
        (b"file,diagnosis\n", "it has no rows below its header."),
        (b"file,diagnosis\n,\n", "it has no rows below its header."),
        (b"file,diagnosis\n1.png,\xe9\n", "line 2: it is not UTF-8; save it as CSV (UTF-8)."),
        ("file,diagnosis\n".encode("utf-16"), "line 1: it is not UTF-8"),
        (b"PK\x03\x04 sheet", "is a workbook or an archive, not a table"),
        (b'file,diagnosis\n1.png,ill\n2.png,"well\n', "cannot be read from line 3 on: unexpected"),
        (b"PAR1 and no more", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, said):
    (tmp_path / "labels.csv").write_bytes(content)
    message = error(tmp_path / "labels.csv")
    assert said in message
    assert message.startswith(str(tmp_path / "labels.csv"))


def test_parquet_columns_hold_text_or_numbers(tmp_path):
    columns = {"file": [{"path": "1.png"}], "diagnosis": ["ill"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    message = error(tmp_path / "x.parquet")
    assert "column 'file' holds struct<path: string>, not text or numbers" in message


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    parquet.write_table(pyarrow.table({"file": ["1.png"]}), tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "needs pyarrow: pip install pyarrow, or save it as CSV." in error(tmp_path / "x.parquet")


def test_a_table_that_is_not_there_is_named_with_a_near_one(tmp_path):
    written(tmp_path)
    message = error(tmp_path / "label.csv")
    assert message == (
        f"no table at {tmp_path / 'label.csv'}: there is no such file."
        f" Did you mean {tmp_path / 'labels.csv'}?"
    )
    assert "is a folder; Table(...) needs a CSV or Parquet file" in error(tmp_path)


def test_a_path_to_a_table_says_how_its_columns_are_named(tmp_path):
    with pytest.raises(DataError, match=r'with Images\(Table\("labels.csv", path=..., label=...'):
        open_source(Images(str(written(tmp_path)), positive="ill"))


# --------------------------------------------------------------------------------------------------
# The recipe's side


def test_json_loses_nothing_of_a_table():
    images = Images(Table("x.csv", **ALL, root="/there"), positive="ill")
    assert from_json(json.loads(json.dumps(to_json(images)))) == images


def test_the_place_of_a_table_is_its_file():
    assert Images(Table("a/x.csv", **COLUMNS)).place == "a/x.csv"
    assert Images("a/b").place == "a/b"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Table("", path="a", label="b"), "Table.file must be a file, got ''"),
        (lambda: Table("x", path="a", label=3), "Table.label must be a column's name, got 3"),
        (lambda: Table("x", path="a", label="b", split=""), "Table.split must be a column's name"),
        (lambda: Table("x", path="a", label="b", root=""), "Table.root must be a folder, or None"),
        (lambda: Table("x", path="a", label="a"), "path and label must be two columns, got 'a'"),
        (lambda: Images(Table("x", **ALL), patient="p"), "Images.patient is a pattern, and the ta"),
        (
            lambda: Images(Table("x", **ALL), subgroup="p"),
            "has the column 'site' for it: leave one",
        ),
        (lambda: Images(7), "Images.path must be a path or a Table(...), got 7"),
    ],
)
def test_a_table_that_says_something_impossible_is_refused(make, said):
    with pytest.raises(RecipeError) as caught:
        make()
    assert said in str(caught.value)
