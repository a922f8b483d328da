"""What stands in a space that is written for somebody? The whole file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from search.new.choices import Choices, Machine
from search.new.data_part import data_lines
from search.new.head_part import budget_lines, docstring_lines, objective_lines
from search.new.lines import comment
from search.new.seen import Seen
from search.new.space_part import augment_lines, backbone_lines, known_lines, space_lines
from xfer.recipe import Table

_NAMES = (
    "Augment", "ConvNet", "Head", "Images", "Objective", "Pretrained", "Recipe", "Schedule",
)  # fmt: skip


def written(seen: Seen, choices: Choices, machine: Machine, *, file: Path) -> str:
    """The text of a space file, as `ruff format` leaves it.

    Args:
        seen: the images.
        choices: made for them.
        machine: for what is said of it.
        file: where it is going to stand, as people type it.
    """
    return "\n".join(_lines(seen, choices, machine, file)) + "\n"


def _lines(seen: Seen, choices: Choices, machine: Machine, file: Path) -> Iterator[str]:
    yield from docstring_lines(seen, choices, file)
    yield ""
    yield from _imports(seen, choices)
    yield ""
    yield from data_lines(seen, choices)
    yield ""
    yield from objective_lines(seen, choices)
    yield ""
    yield from budget_lines(seen, choices, machine)
    yield ""
    yield from backbone_lines(choices)
    yield ""
    yield from augment_lines()
    yield ""
    yield from known_lines(choices)
    yield ""
    yield ""
    yield from comment(
        "What there is to choose from. A range is widened or narrowed by its two numbers, a list by"
        " its entries; what is asked inside of an `if` is asked in that case alone. Names that"
        " KNOWN uses must stay in range: search.check tells."
    )
    yield from space_lines(choices)


def _imports(seen: Seen, choices: Choices) -> Iterator[str]:
    names: list[str] = list(_NAMES)
    if isinstance(seen.place, Table):
        names.append("Table")
    if choices.target is not None:
        names.append("TargetRecall")
    yield "from search.space import Budget, Trial"
    yield "from xfer.recipe import ("
    yield from (f"    {name}," for name in names)
    yield ")"
