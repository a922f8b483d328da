"""Which column of a table names the files, and which the classes? Told by what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from search.messages import near
from xfer.data.cells import read_cells
from xfer.data.folders import SPLIT_NAMES
from xfer.data.remote import fetched, is_url
from xfer.errors import DataError
from xfer.recipe import Table

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
"""What a table's name ends in."""
LOOKED_AT = 40
"""Cells of a column that are looked for as files."""
SHARE = 0.8
"""Of them that must be there."""
MOST_CLASSES = 20
_LABEL = re.compile(r"(?i)labels?|class(es)?|category|target|diagnos[ie]s|dx|finding|disease|y")
_PATIENT = re.compile(
    r"(?i)(patient|subject|person|case|participant)s?([ _-]?(id|no|number|name|code))?|pid"
)


def is_table(data: str) -> bool:
    """Whether a place is a table by its name.

    >>> is_table("photos/labels.CSV"), is_table("photos")
    (True, False)
    """
    return data.lower().endswith(SUFFIXES)


def find_columns(
    data: str, *, path_column: str | None = None, label_column: str | None = None
) -> tuple[Table, list[str]]:
    """A table with its columns, and what was taken for what, as sentences.

    Args:
        data: the table's file or URL.
        path_column: the column that names files; None: found by what stands there.
        label_column: the column that names classes; None: likewise.

    Raises:
        DataError: the table cannot be read, or it is unclear which columns are meant.
    """
    if is_url(data):
        folder, _, name = data.rpartition("/")
        file = fetched(folder) / name
    else:
        file = Path(data).expanduser().absolute()
    if not file.is_file():
        raise DataError(f"no table at {file}: there is no such file.")
    columns = read_cells(file, ()).columns
    texts = read_cells(file, columns).texts
    unknown = [
        f"{flag} {name!r} is no column of {file.name}{near(name, columns)}"
        for flag, name in (("--path-column", path_column), ("--label-column", label_column))
        if name is not None and name not in texts
    ]
    if unknown:
        raise DataError(f"{'; '.join(unknown)}; its columns are {_named(columns)}.")
    if not any(texts.values()):
        raise DataError(f"{file} has no rows below its header.")
    path, root = _path(file, texts, path_column)
    rest = {name: column for name, column in texts.items() if name != path}
    split = _only(name for name, column in rest.items() if _is_split(column))
    rest = {name: column for name, column in rest.items() if name != split}
    label = _label(file, rest, label_column)
    patient = _only(name for name in rest if name != label and _PATIENT.fullmatch(name))
    if root != file.parent and is_url(data):
        raise DataError(
            f"the files of {data} are not beside it but in {root.name}: move the table there."
        )
    said = [f"Column {path!r} is taken for the files, for {_share(texts[path], root)} are there."]
    why = ", as was asked" if label_column else f": {_few(texts[label])}"
    said.append(f"Column {label!r} is taken for the classes{why}.")
    if patient is not None:
        said.append(f"Column {patient!r} is taken for the patients, by its name.")
    if split is not None:
        said.append(f"Column {split!r} is taken for the parts: {_few(texts[split])}.")
    where = None
    if root != file.parent:
        given = Path(data).parent
        where = str(given.parent if root == file.parent.parent else given / root.name)
        said.append(f"The files are below {where}.")
    table = Table(data, path=path, label=label, patient=patient, split=split, root=where)
    return table, said


def _path(file: Path, texts: Mapping[str, Sequence[str]], asked: str | None) -> tuple[str, Path]:
    """The column that names files, and the folder they are below."""
    inner = sorted(path for path in file.parent.iterdir() if path.is_dir())
    wanted = [asked] if asked is not None else list(texts)
    for root in (file.parent, *inner, file.parent.parent):
        found = [name for name in wanted if _are_files(texts[name], root)]
        if len(found) > 1:
            raise DataError(
                f"columns {_named(found)} of {file.name} name files: say which are the images,"
                f" with --path-column {_quoted(found[0])}."
            )
        if found:
            return found[0], root
    example = f"; {asked!r} has {next(filter(None, texts[asked]), '')!r}" if asked else ""
    raise DataError(
        f"no column of {file.name} names files that are there{example}. They were looked for below"
        f" {file.parent}, its folders, and the folder above. Its columns are {_named(texts)}."
    )


def _label(file: Path, rest: Mapping[str, Sequence[str]], asked: str | None) -> str:
    if asked is not None:
        if asked not in rest:
            raise DataError(f"--label-column {asked!r} names files or parts, not classes.")
        return asked
    found = [name for name, column in rest.items() if _are_classes(column)]
    telling = [name for name in found if _LABEL.fullmatch(name)]
    if len(found) == 1 or len(telling) == 1:
        return (telling or found)[0]
    if not found:
        raise DataError(
            f"no column of {file.name} looks like classes: 2 to {MOST_CLASSES} different texts, and"
            f" one in each row. Say which it is, with --label-column; there are {_named(rest)}."
        )
    said = "; ".join(f"{name!r}: {_few(rest[name])}" for name in found)
    raise DataError(
        f"several columns of {file.name} could be the classes ({said}): say which one is, with"
        f" --label-column {_quoted(found[0])}."
    )


def _are_files(column: Sequence[str], root: Path) -> bool:
    sample = _sample(column)
    there = sum(_is_file(root, text) for text in sample)
    return bool(sample) and there >= SHARE * len(sample)


def _share(column: Sequence[str], root: Path) -> str:
    sample = _sample(column)
    there = sum(_is_file(root, text) for text in sample)
    return f"{there} of {len(sample)} that were looked for"


def _sample(column: Sequence[str]) -> list[str]:
    texts = list(dict.fromkeys(filter(None, column)))
    return texts[:: max(1, len(texts) // LOOKED_AT)][:LOOKED_AT]


def _is_file(root: Path, text: str) -> bool:
    try:
        return (root / text.replace("\\", "/")).is_file()
    except (OSError, ValueError):  # a name that no file system has
        return False


def _are_classes(column: Sequence[str]) -> bool:
    different = set(column)
    few = 2 <= len(different) <= min(MOST_CLASSES, len(column) // 2)
    amounts = all(re.fullmatch(r"-?\d+\.\d+", text) for text in different)
    return few and "" not in different and not amounts


def _is_split(column: Sequence[str]) -> bool:
    words = {text.casefold() for text in column if text}
    return bool(words) and words <= SPLIT_NAMES.keys()


def _only(names: Iterable[str]) -> str | None:
    found = list(names)
    return found[0] if len(found) == 1 else None


def _few(column: Sequence[str]) -> str:
    different = sorted(set(column))
    more = f" and {len(different) - 4} more" if len(different) > 4 else ""
    return ", ".join(map(repr, different[:4])) + more


def _named(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f'"{name}"'
