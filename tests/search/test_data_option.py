"""What `--data` makes of a space whose images are in a table."""

from pathlib import Path

import pytest

from search.options import parse
from search.plan import make_plan
from search.space import load_space
from xfer.recipe import Table

SPACE = """\
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Images, Objective, Recipe, Table

DATA = Images(
    Table("labels.csv", path="file", label="kind", patient="person", root="pictures"),
    positive="ill",
    demo=True,
)
OBJECTIVE = Objective("recall_weighted")
BUDGET = Budget()

def space(trial: Trial) -> Recipe:
    return Recipe(model=ConvNet(kernels=(8,)), lr=1e-3)
"""
COLUMNS = {"path": "file", "label": "kind", "patient": "person"}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def make(*flags: str, text: str = SPACE):
        Path("mine.py").write_text(text)
        return make_plan(load_space("mine.py"), parse(["mine.py", *flags]), at_hand=())

    return make


def test_a_tables_file_and_root_are_made_absolute(plan, tmp_path: Path) -> None:
    Path("labels.csv").touch()
    made = plan()
    root = str(tmp_path / "pictures")
    assert made.data.path == Table(str(tmp_path / "labels.csv"), root=root, **COLUMNS)
    assert (made.demo, made.notes) == (False, ())
    assert made.to_json()["data"]["path"]["file"] == str(tmp_path / "labels.csv")


@pytest.mark.parametrize("there", [True, False])
def test_another_table_keeps_the_columns(plan, tmp_path: Path, there: bool) -> None:
    if there:
        Path("other.csv").touch()
    made = plan("--data", "other.csv")
    root = str(tmp_path / "pictures")
    assert made.data.path == Table(str(tmp_path / "other.csv"), root=root, **COLUMNS)
    assert (made.demo, made.notes) == (False, ())


def test_what_is_no_table_replaces_it_and_what_is_lost_is_said(plan, tmp_path: Path) -> None:
    Path("images").mkdir()
    for asked, path in (
        ("images", str(tmp_path / "images")),
        ("some.npz", str(tmp_path / "some.npz")),
        ("builtin:digits", "builtin:digits"),
    ):
        made = plan("--data", asked)
        assert made.data.path == path
        assert made.notes == (
            f"--data {asked} is no table: the space's columns do not apply, patients ('person')"
            " among them.",
        )
    made = plan("--data", "images", text=SPACE.replace(' patient="person",', ""))
    assert made.notes[0].endswith("do not apply.")


def test_a_missing_table_is_stood_in_for_by_a_demo_as_a_folder_is(plan, tmp_path: Path) -> None:
    made = plan()
    assert (made.demo, made.data.path) == (True, "builtin:phantoms")
    assert f"(no images at {tmp_path / 'labels.csv'})" in made.notes[0]
