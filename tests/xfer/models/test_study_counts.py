"""`docs/parameters.md` says what the studies trained and what we do: its rows are computed."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import xfer.recipe
from xfer.models.described import describe
from xfer.models.listing import trainable
from xfer.recipe import ConvNet, Head, Pretrained, Recipe

PAGE = Path(__file__).parents[3] / "docs" / "parameters.md"

STUDIES = {
    "A1": 20_990,
    "A4": 17_079,
    "A6": 8_887,
    "A9": 44_828,
    "A10": 414_748,
    "B1": 4_194_690,
    "B2": 1_048_962,
    "B3": 1_769_858,
    "B4": 2_733_378,
    "E1": 27_000_000,  # to the million
    "E10": 13_000_000,  # to the million
    "E11": 14_913_155,
    "E12": 20_431_747,
}
"""Every count that a study gives."""


class Row(NamedTuple):
    section: str
    experiment: str
    study: str
    ours: str
    difference: str
    code: str


def sections() -> dict[str, tuple[dict[str, Any], str]]:
    """By letter: the names that a section's rows may use, and its text."""
    found = {}
    for text in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        names = dict(vars(xfer.recipe))
        exec(code, names)
        found[text[0]] = (names, text)
    return found


SECTIONS = sections()
ROWS = [
    Row(section, *cells)
    for section, (_, text) in SECTIONS.items()
    for cells in re.findall(r"^\| (.+) \| (.+) \| (.+) \| (.+) \| `(.+)` \|$", text, re.MULTILINE)
]
every_row = pytest.mark.parametrize("row", ROWS, ids=[row.experiment for row in ROWS])


def count(section: str, model: ConvNet | Pretrained, head: Head) -> int:
    names, _ = SECTIONS[section]
    return describe(
        Recipe(model=model, head=head, lr=1e-3),
        classes=names["CLASSES"],
        size=names["SIZE"],
        channels=names["CHANNELS"],
    ).trainable


def number(text: str) -> int:
    return int(text.replace(",", "").replace(" million", "000000"))


@every_row
def test_our_count_is_the_pages(row):
    model, head = eval(row.code, SECTIONS[row.section][0])
    assert f"{count(row.section, model, head):,}" == row.ours


@every_row
def test_the_difference_is_that_of_the_two_counts(row):
    if row.study == "-":
        assert row.difference == "-"
    elif row.study.endswith(" million"):
        assert row.difference == "equal, rounded"
        assert f"{number(row.ours) / 1e6:.0f} million" == row.study
    else:
        more = number(row.ours) - number(row.study)
        assert row.difference == (f"{more:+,}" if more else "equal")


def test_every_line_of_the_tables_is_read():
    lines = re.findall(r"^\| \w.*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(ROWS) == len(lines) > len(STUDIES)


def test_the_page_has_every_count_of_the_studies():
    assert {row.experiment: number(row.study) for row in ROWS if row.study != "-"} == STUDIES


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        (("Mixed_7b", "Mixed_7c"), 13_216_131),
        (("Mixed_7a", "Mixed_7b", "Mixed_7c"), STUDIES["E11"]),
        (SECTIONS["E"][0]["SIX"], STUDIES["E12"]),
    ],
)
def test_without_the_scales_of_its_norms_inceptions_top_blocks_count_as_in_keras(blocks, said):
    names, text = SECTIONS["E"]
    inside = [name for name, _ in trainable("inception_v3", size=299) if name.startswith(blocks)]
    train = tuple(name for name in inside if name.endswith((".conv", ".bn.bias")))
    assert count("E", Pretrained("inception_v3", train=train), names["LINEAR"]) == said
    assert f"{said:,}" in text


def test_the_window_of_b4_could_be_that_of_the_block_after_it():
    names, text = SECTIONS["B"]
    after = tuple(name.replace("Mixed_6c", "Mixed_6d") for name in names["WINDOW"])
    frozen, window, other = (
        count("B", Pretrained("inception_v3", cut_after=names["CUT"], train=train), names["HEAD"])
        for train in (None, names["WINDOW"], after)
    )
    assert window == other
    assert f"{window - frozen:,}" in text


@pytest.mark.parametrize(
    ("section", "model", "head"),
    [
        ("D", Pretrained("resnet50", train=("layer4.2",)), SECTIONS["D"][0]["HEAD"]),
        (
            "E",
            ConvNet(kernels=(6, 16, 120), kernel_size=5, pool_after=(1, 2)),
            SECTIONS["E"][0]["DENSE"],
        ),
        ("F", Pretrained("resnet18"), Head()),
    ],
    ids=["last block of ResNet-50", "LeNet with a border", "head of ResNet-18"],
)
def test_what_another_recipe_would_have_come_to_is_said(section, model, head):
    assert f"{count(section, model, head):,}" in SECTIONS[section][1]
