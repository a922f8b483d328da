"""Writes a first space after a look at the images, with comments that say why each line is so.

    python -m search.new NAME --data PATH [--positive CLASS] [--out FILE]

Exit codes: 0 it is written and can be run; 2 something that was given is wrong, or the check has
found something to mend first. A file that is there is never overwritten.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from search.check import check
from search.check.__main__ import main as check_command
from search.errors import OptionsError, SearchError
from search.messages import together
from search.new.asked import Asked, read
from search.new.choices import Choices, Machine, choose
from search.new.columns import find_columns, is_table
from search.new.seen import Seen, look
from search.new.text import written
from search.options import parse
from search.plan import make_plan
from search.space import load_space
from xfer.errors import XferError
from xfer.recipe import Table


def main(argv: Sequence[str]) -> int:
    """Writes what a command line asks for, and checks it; returns the exit code."""
    try:
        asked = read(argv)
        seen, said = _look(asked)
        assert asked.file is not None  # else there was a problem
        machine = Machine.here()
        choices = choose(seen, machine)
        text = written(seen, choices, machine, file=asked.file)
        prove(text, seen)
        _write(asked.file, text)
    except (SearchError, XferError) as error:
        print(error, file=sys.stderr)
        return 2
    for line in (f"Wrote {asked.file}.", *said, *_told(seen, choices)):
        print(line)
    words = shlex.quote(str(asked.file))
    print(f"\nThe check of it: python -m search.check {words}", flush=True)
    code = check_command([str(asked.file)])
    if code:
        print(f"\n{asked.file} is written; mend what is said above, then type")
        print(f"  python -m search.check {words}")
    else:
        print("\nNext, read it and change what you know better. Then type")
        print(f"  python -m search.check {words}            after each change")
        print(f"  python -m search.run {words} --dry-run    what would run, and for how long")
        print(f"  python -m search.run {words}")
    return code


def _look(asked: Asked) -> tuple[Seen, list[str]]:
    """The images, and what was taken for what in a table.

    Raises:
        OptionsError: whatever is wrong with the command line, and with the images.
    """
    problems, seen, said = list(asked.problems), None, []
    if asked.data is not None:
        place: str | Table = asked.data
        try:
            if is_table(asked.data):
                place, said = find_columns(
                    asked.data, path_column=asked.path_column, label_column=asked.label_column
                )
            elif asked.path_column or asked.label_column:
                problems.append(f"--path-column and --label-column are for tables; {asked.data} is"
                                " none by its name")  # fmt: skip
            seen = look(place, positive=asked.positive)
        except XferError as error:
            problems.append(str(error).removesuffix("."))
    if problems or seen is None:
        raise OptionsError(together(problems))
    return seen, said


def prove(text: str, seen: Seen) -> None:
    """Holds a text against the rules for spaces, before it is written.

    Raises:
        AssertionError: it breaks one. The images are fine then, and this program is wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "written.py"
        file.write_text(text, encoding="utf-8")
        positive, classes = seen.source.positive, len(seen.source.classes)
        counts = seen.counts.get("train") or seen.counts["all"]
        try:
            problems = check(
                make_plan(load_space(file), parse([str(file)])),
                classes=classes if positive is None else 2,
                train_images=max(2, sum(counts) // 2),  # what is at least left of it
            ).problems
        except (SearchError, XferError) as error:
            problems = (str(error),)
    if problems:
        raise AssertionError(f"search.new has written a faulty space: {together(problems)}")


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(exist_ok=True)  # spaces/; --out names a folder that is there
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:  # since we have looked
        raise OptionsError(f"{file} is there already and is not overwritten.") from None
    except OSError as error:
        raise OptionsError(f"{file} cannot be written: {error.strerror or error}.") from None


def _told(seen: Seen, choices: Choices) -> Iterator[str]:
    """What somebody should know before reading the file."""
    if seen.guess is not None:
        yield (f"Positive, the class that must not be missed, is {seen.guess.name!r}. That is a"
               f" guess, {seen.guess.why}. --positive says otherwise.")  # fmt: skip
    if choices.fetched:
        yield f"The search will fetch weights: {', '.join(choices.fetched)}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
