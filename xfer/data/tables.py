"""Which images does a table list, of which class, split and patient?

One row for each image; the columns are named by `xfer.recipe.Table`. In a file's name `\\` counts
as `/`. Images are put in the order of their names, so that sorting a table changes nothing.
"""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from xfer.data.cells import Cells, name_lines, read_cells
from xfer.data.decode import Kind, read_image_file
from xfer.data.decoded import TOLERATED, TOLERATED_SHARE
from xfer.data.dicom import patients_of, refuse_dicom
from xfer.data.folders import SPLIT_NAMES, no_image
from xfer.data.items import SPLITS, Listing, Skipped, Split, unusable
from xfer.errors import DataError
from xfer.recipe import Table

_FIRST = 3
"""Files or words named in one message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    line: int
    name: str
    path: Path
    label: str
    split: Split | None
    patient: str
    subgroup: str


def list_table(table: Table, *, patient_ids: bool = True) -> Listing:
    """The images of a table; what is wrong with it stands in `problems`, with line numbers.

    Files that do not exist, or are no images, are left out as `skipped`; more than 5 % of them, and
    more than three, are a problem, as `decode_source` has it for damaged ones. A file that stands
    twice with the same in every column counts once.

    Args:
        table: the file, and its columns.
        patient_ids: whether, without a patient column, those of DICOM files are looked up in them.
    """
    file = Path(table.file).expanduser().absolute()
    root = file.parent if table.root is None else Path(table.root).expanduser().absolute()
    asked = {
        role: column
        for role in ("path", "label", "patient", "split", "subgroup")
        if (column := getattr(table, role)) is not None
    }
    try:
        cells = read_cells(file, tuple(asked.values()))
    except DataError as error:
        return unusable(str(file), [str(error).removesuffix(".")])
    problems = [*_columns(cells, asked), *cells.problems]
    if not cells.lines and not problems:
        problems.append("it has no rows below its header")
    texts = {role: cells.texts[name] for role, name in asked.items() if name in cells.texts}
    problems += _empty(cells, asked, texts)
    problems += _unknown_splits(cells, asked, texts)
    if "path" not in texts or "label" not in texts:
        return unusable(str(file), _named(file, problems))
    names = [_name(text, root) for text in texts["path"]]
    out = [line for line, name in zip(cells.lines, names, strict=True) if name is None]
    if out:
        problems.append(
            f"column {asked['path']!r} (path) leads out of {root} in {name_lines(cells.unit, out)};"
            " files elsewhere need absolute paths, or another root"
        )
    rows = list(_rows(cells, texts, names, root))
    once, repeated, contradicting = _once(rows, cells.unit)
    problems += contradicting
    kept: list[_Row] = []
    skipped: dict[int, Skipped] = {}
    for row in once:
        reason = _why_not(row.path)
        if reason is None:
            kept.append(row)
        else:
            skipped[row.line] = Skipped(name=row.name, kind=reason[0], reason=reason[1])
    dicom = refuse_dicom(list(skipped.values()))
    if dicom:
        problems += dicom
    elif len(skipped) > TOLERATED and len(skipped) > TOLERATED_SHARE * len(kept):
        problems.append(_too_many(cells.unit, skipped, len(once), root, table))
    elif not problems:
        problems += _lacking(kept, once)
    if problems:
        kept = once  # so that classes are judged by what the table says
    notes = []
    if repeated:
        notes.append(
            f"{repeated:,} of {len(rows):,} rows of {file.name} repeat an earlier one and count"
            " once."
        )
    alone = sum(not row.patient for row in kept)
    if "patient" in texts and alone:
        notes.append(
            f"{alone:,} of {len(kept):,} images have no patient in column {asked['patient']!r}:"
            " they stand alone."
        )
    loose = sum(row.split is None for row in kept)
    if 0 < loose < len(kept):
        notes.append(f"{loose:,} of {len(kept):,} images have no split: they count as train.")
    if "patient" in asked:
        patients = [row.patient or row.name for row in kept]
    elif patient_ids and not problems:
        patients, said = patients_of([row.path for row in kept], [row.name for row in kept])
        notes += said
    else:
        patients = None
    return Listing(
        name=str(file),
        names=[row.name for row in kept],
        classes=[row.label for row in kept],
        splits=[row.split for row in kept],
        patients=patients,
        has_file_names=True,
        read=lambda i: read_image_file(kept[i].path),
        digest=None,
        searched=[row.name for row in kept],
        subgroups=[row.subgroup or None for row in kept] if "subgroup" in asked else None,
        skipped=list(skipped.values()),
        notes=notes,
        problems=_named(file, problems),
    )


def _named(file: Path, problems: list[str]) -> list[str]:
    """A problem that is told alone names the file; over several the file stands once."""
    return [f"{file}: {problem}" for problem in problems] if len(problems) == 1 else problems


def _columns(cells: Cells, asked: Mapping[str, str]) -> list[str]:
    """Columns that are not there, or are there twice."""
    problems = []
    for role, name in asked.items():
        count = cells.columns.count(name)
        if count > 1:
            problems.append(f"column {name!r} ({role}) stands {count} times in the header")
        elif not count:
            by_folded = {column.casefold(): column for column in cells.columns}
            near = get_close_matches(name.casefold(), by_folded, n=1)
            hint = f"; did you mean {by_folded[near[0]]!r}?" if near else ""
            problems.append(f"it has no column {name!r} ({role}){hint}")
    if any(cells.columns.count(name) == 0 for name in asked.values()):
        problems.append(f"its columns are {', '.join(map(repr, cells.columns))}")
    return problems


def _empty(
    cells: Cells, asked: Mapping[str, str], texts: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Rows without a file or a label."""
    for role in ("path", "label"):
        lines = [
            line
            for line, text in zip(cells.lines, texts.get(role, ()), strict=role in texts)
            if not text
        ]
        if lines:
            yield (
                f"column {asked[role]!r} ({role}) is empty in {len(lines):,} of"
                f" {len(cells.lines):,} rows: {name_lines(cells.unit, lines)}"
            )


def _unknown_splits(
    cells: Cells, asked: Mapping[str, str], texts: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Words that name no part, and parts without train."""
    if "split" not in texts:
        return
    unknown: defaultdict[str, list[int]] = defaultdict(list)
    known: set[Split | None] = set()
    for line, word in zip(cells.lines, texts["split"], strict=True):
        if word and word.casefold() not in SPLIT_NAMES:
            unknown[word].append(line)
        else:
            known.add(SPLIT_NAMES.get(word.casefold()))
    if unknown:
        words = [
            f"{word!r} ({name_lines(cells.unit, lines, first=1)})"
            for word, lines in list(unknown.items())[:_FIRST]
        ]
        more = f" and {len(unknown) - _FIRST:,} more words" if len(unknown) > _FIRST else ""
        yield (
            f"column {asked['split']!r} (split) has {', '.join(words)}{more}; it may have"
            f" {', '.join(SPLIT_NAMES)}, or be empty"
        )
    elif known and not known & {"train", None}:
        there = ", ".join(split for split in SPLITS if split in known)
        yield f"column {asked['split']!r} (split) has {there} but no train; training needs one"


def _rows(
    cells: Cells, texts: Mapping[str, Sequence[str]], names: Sequence[str | None], root: Path
) -> Iterator[_Row]:
    """The rows that name a file and a class."""
    nothing = [""] * len(cells.lines)
    columns = [texts.get(r, nothing) for r in ("path", "label", "split", "patient", "subgroup")]
    for line, name, text, label, split, patient, subgroup in zip(
        cells.lines, names, *columns, strict=True
    ):
        if text and label and name is not None:
            yield _Row(
                line=line,
                name=name,
                path=root / text.replace("\\", "/"),
                label=label,
                split=SPLIT_NAMES.get(split.casefold()),
                patient=patient,
                subgroup=subgroup,
            )


def _name(text: str, root: Path) -> str | None:
    """The path below the root, or an absolute one that lies elsewhere; None: it leaves the root."""
    place = posixpath.normpath(text.replace("\\", "/"))
    if not os.path.isabs(place):  # noqa: PTH117  no object for every row
        return None if place.split("/")[0] == ".." else place
    top = Path(posixpath.normpath(root.as_posix()))
    return Path(place).relative_to(top).as_posix() if Path(place).is_relative_to(top) else place


def _once(rows: Sequence[_Row], unit: str) -> tuple[list[_Row], int, list[str]]:
    """Each file once, by name; how many rows repeat one; and files with rows that contradict."""
    of_file: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        of_file[row.name].append(row)
    torn: dict[str, list[str]] = {"labels": [], "splits, patients or subgroups": []}
    for name, same in of_file.items():
        if len({(row.label, row.split, row.patient, row.subgroup) for row in same}) == 1:
            continue
        lines = name_lines(unit, [row.line for row in same])
        labels = list(dict.fromkeys(repr(row.label) for row in same))
        if len(labels) > 1:
            torn["labels"].append(f"{name} ({' and '.join(labels)}, {lines})")
        else:
            torn["splits, patients or subgroups"].append(f"{name} ({lines})")
    problems = []
    for what, files in torn.items():
        if files:
            more = f" and {len(files) - _FIRST:,} more" if len(files) > _FIRST else ""
            count = "1 file stands" if len(files) == 1 else f"{len(files):,} files stand"
            problems.append(
                f"{count} in several rows with different {what}: {', '.join(files[:_FIRST])}{more}"
            )
    once = [of_file[name][0] for name in sorted(of_file)]
    return once, len(rows) - len(once), problems


def _why_not(path: Path) -> tuple[Kind, str] | None:
    """Why a file cannot be an image, as far as that is seen without decoding it."""
    try:
        path.stat()
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    except ValueError as error:  # a name that no file system has
        return "unreadable", str(error)
    reason = no_image(path)
    return None if reason is None else ("not_image", reason)


def _too_many(
    unit: str, skipped: Mapping[int, Skipped], count: int, root: Path, table: Table
) -> str:
    first = "".join(
        f"\n  {unit} {line}: {skip.name}: {skip.reason}"
        for line, skip in sorted(skipped.items())[:_FIRST]
    )
    more = f"\n  and {len(skipped) - _FIRST:,} more" if len(skipped) > _FIRST else ""
    return (
        f"{len(skipped):,} of {count:,} files in column {table.path!r} (path) cannot be used; up to"
        f" {TOLERATED_SHARE:.0%} are skipped. They were looked for below {root}; root=... in Table"
        f" names another folder:{first}{more}"
    )


def _lacking(kept: Sequence[_Row], once: Sequence[_Row]) -> Iterator[str]:
    """Classes that have no image in some split, or at all."""
    everywhere = {row.label for row in once}
    splits = {row.split or "train" for row in kept}
    if not any(row.split for row in once):
        lost = sorted(everywhere - {row.label for row in kept})
        yield from (f"none of the files of class {name!r} can be used" for name in lost)
        return
    for split in (split for split in SPLITS if split in splits):
        here = {row.label for row in kept if (row.split or "train") == split}
        yield from (f"{split} has no image of class {n!r}" for n in sorted(everywhere - here))
