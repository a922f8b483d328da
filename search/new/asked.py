"""What was asked of `search.new`, and is it something that can be written?"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from search.errors import OptionsError
from search.messages import near

_EXAMPLE = "python -m search.new photos --data path/to/photos"
_FLAGS = (
    ("--data", "PATH", "a folder of class folders, an .npz, a .csv or .parquet, or their URL"),
    ("--positive", "CLASS", "class that must not be missed; of two it is guessed by its name"),
    ("--out", "FILE", "another file than spaces/NAME.py"),
    ("--path-column", "COLUMN", "of a table: which names the images' files"),
    ("--label-column", "COLUMN", "of a table: which names their classes"),
)
"""Flag, what stands behind it, and help."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A command line."""

    data: str | None
    """The images; None: not given."""
    positive: str | None
    """Class that must not be missed; None: to be guessed."""
    path_column: str | None
    """Column of a table that names files; None: to be found."""
    label_column: str | None
    """Column of a table that names classes; None: to be found."""
    file: Path | None
    """Where the space is to be written, as it was typed; None: that cannot be said."""
    problems: tuple[str, ...]
    """What is wrong, as sentences without an end."""


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage line and end the process."""

    def error(self, message: str) -> NoReturn:
        raise OptionsError(f"{message}.")


def read(argv: Sequence[str]) -> Asked:
    """A command line, with everything that is wrong with it; `--help` prints and ends the process.

    Raises:
        OptionsError: a flag stands without its value.
    """
    raw, extra = _parser().parse_known_args(list(argv))
    problems = []
    flags = [flag for flag, _, _ in _FLAGS]
    for word in extra:
        flag = word.partition("=")[0]
        if word.startswith("-"):
            problems.append(f"{flag} is not a flag{near(flag, flags) or '; --help lists all'}")
        else:
            problems.append(f"{word!r} is one word too many; a space has one NAME")
    if raw.data is None:
        problems.append(f"--data is missing: where are the images? {_EXAMPLE}")
    file = _file(raw.name, raw.out, problems)
    return Asked(
        data=raw.data,
        positive=raw.positive,
        path_column=raw.path_column,
        label_column=raw.label_column,
        file=file,
        problems=tuple(problems),
    )


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m search.new",
        usage="python -m search.new NAME --data PATH [flags]",
        description="Write a first space, spaces/NAME.py, after a look at the images.",
        epilog="example:\n  python -m search.new smoking --data photos --positive smoking\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the space: spaces/NAME.py")
    for flag, metavar, text in _FLAGS:
        parser.add_argument(flag, metavar=metavar, help=text)
    return parser


def _file(name: str | None, out: str | None, problems: list[str]) -> Path | None:
    if name is None:
        problems.append(f"NAME is missing: what is the space to be called? {_EXAMPLE}")
    elif not name.isidentifier():
        stem = re.sub(r"\W+", "_", Path(name).name.removesuffix(".py")).strip("_")
        stem = f"_{stem}" if stem[:1].isdigit() else stem
        meant = f"; {stem} would do" if stem.isidentifier() else ""
        problems.append(
            f"NAME must be letters, digits and _, and begin with no digit, got {name!r}{meant}"
        )
        name = None
    if out is None:
        file = None if name is None else Path("spaces") / f"{name}.py"
    else:
        file = Path(out)
        if file.suffix != ".py":
            problems.append(f"--out must be a file that ends in .py, got {out!r}")
            return None
        if not file.parent.is_dir():
            problems.append(f"--out {out}: there is no folder {file.parent}")
            return None
    if file is not None and (file.exists() or file.is_symlink()):
        problems.append(
            f"{file} is there already and is not overwritten: choose another NAME, or --out FILE,"
            " or move it away"
        )
    return file
