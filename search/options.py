"""What was asked for on the command line? One dataclass, with a field for each flag.

Standard library only. How options act on a space is `search.plan`'s question.
"""

from __future__ import annotations

import argparse
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from search.errors import OptionsError
from search.flags import GROUPS, Row
from search.messages import near, together
from search.passwords import without_password
from xfer.recipe import is_local


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of `search.run`; `search.check` and `search.submit` share them."""

    space: str
    """The space file."""
    data: str | None = None
    """Images in place of the space's: a folder, an `.npz`, a URL of one, or `builtin:NAME`."""
    positive: str | None = None
    """Class that must not be missed, in place of the space's."""
    image_size: int | None = None
    """Side of the images, in place of the space's; pixels, 8 to 4096."""
    demo: bool = False
    """Built-in phantom images and a small budget, whatever the space says."""
    resplit: bool = False
    """Drop the parts that the images come in, and split everything by patient anew."""
    keep_splits: bool = False
    """Leave the parts as they are given, leaks included; every output is marked."""
    test_share: float | None = None
    """Share of a test part that is cut, in [0.02, 0.8]; None: as the space says."""
    strict: bool = False
    """What the audit finds is an error, where somebody can mend it (`Finding.refused`)."""
    trials: int | None = None
    """Trials told, finished or not, in place of the budget's; at least 1."""
    epochs: int | None = None
    """Caps the epochs of the budget and of every recipe; at least 1."""
    minutes: float | None = None
    """Wall time of the search, in place of the budget's; above 0."""
    folds: int | None = None
    """Folds on which each trial is scored, 2 to 20; None: on the validation part."""
    refits: int | None = None
    """Trials that are trained again on folds, to choose among them, 0 to 20; None: 3, and 0 with
    `known_only`."""
    seed: int = 0
    """Of sampler and weights: 0 to 2**32 - 1."""
    backbones: tuple[str, ...] | None = None
    """The only models to choose from; None: all that the space names."""
    weights: str | None = None
    """`imagenet` or `none` (from random weights, all stages trained); None: as the space says."""
    offline: bool = False
    """Weights that are not on this machine are an error instead of being fetched."""
    known: tuple[str, ...] | None = None
    """Texts naming the entries of KNOWN that are tried first; None: all of them."""
    known_only: bool = False
    """Train the known configurations, each to its end, and nothing else."""
    stand_in: tuple[str, ...] | None = None
    """`A=B`: known configurations of model A are run with B."""
    workers: int | None = None
    """Trials side by side, at least 1; None: as the machine allows."""
    gpus_per_trial: float | None = None
    """GPUs of one worker, in (0, 8]; None: one where there are any."""
    address: str | None = None
    """Ray cluster to join; None: this machine."""
    cache_gb: float | None = None
    """Disk space for decoded images and features, in GB, above 0; None: the store's default."""
    name: str | None = None
    """Name of the run's folder; None: the space's, with a number where that is taken."""
    out: str = "runs"
    """Folder of the runs."""
    resume: bool = False
    """Go on with a run instead of beginning one."""
    reopen_test: bool = False
    """Score the winner on the test part although an earlier winner of this run was."""
    keep: int = 3
    """Trials whose checkpoints stay in the end, best first; at least 1."""
    storage: str | None = field(default=None, repr=False)
    """Storage of the study, a URL, which may hold a password; None: SQLite in the run's folder."""
    dry_run: bool = False
    """Say what would be done, and end."""
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Fields that the command line named; the others hold the defaults above."""

    @property
    def given_parts(self) -> Literal["clean", "keep", "resplit"]:
        """What becomes of parts that the images come in, as `xfer.data.split_items` has it."""
        if self.resplit:
            return "resplit"
        return "keep" if self.keep_splits else "clean"

    def to_json(self) -> dict[str, Any]:
        """Every flag by its field's name, with local paths made absolute, without a password."""
        body = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "given"}
        body = {name: list(v) if isinstance(v, tuple) else v for name, v in body.items()}
        for name in ("space", "data", "out"):
            body[name] = _absolute(body[name])
        if self.storage is not None:
            body["storage"] = without_password(self.storage)
        return body

    def changed(self, old: Mapping[str, Any]) -> list[str]:
        """What this command line asks for that a run begun with `old` cannot give, in words.

        Args:
            old: `to_json()` of the options that the run was begun with.
        """
        body = self.to_json()
        return [
            f"{_flag(name)} was {_words(old.get(name))} when the run began and cannot become "
            f"{_words(body[name])}; leave it out, or begin another run with --name"
            for name in _FIXED
            if name in self.given and _unpacked(body[name]) != _unpacked(old.get(name))
        ]

    def resumed(self, old: Mapping[str, Any]) -> Options:
        """These options, with what the command line left out as it was when the run began.

        Raises:
            OptionsError: the command line asks for what `changed` lists.
        """
        problems = self.changed(old)
        if problems:
            raise OptionsError(together(problems))
        kept = {name: old[name] for name in _FIXED + _KEPT if name in old} | {
            name: tuple(old[name]) for name in ("backbones", "known", "stand_in") if old.get(name)
        }
        return replace(self, **{n: v for n, v in kept.items() if n not in self.given})

    def resume_command(self, name: str) -> str:
        """The command that goes on with the run called `name`."""
        words = ["python", "-m", "search.run", self.space, "--name", name]
        words += ["--out", self.out] if self.out != "runs" else []
        words += ["--address", self.address] if self.address is not None else []
        return shlex.join([*words, "--resume"])


_FIXED = (
    "data", "positive", "image_size", "demo", "resplit", "keep_splits", "test_share", "epochs",
    "folds", "seed", "backbones", "weights", "known", "known_only", "stand_in", "storage",
)  # fmt: skip
"""What a run is about: a resumed run keeps it."""
_KEPT = ("trials", "minutes", "refits", "workers", "gpus_per_trial", "cache_gb", "keep", "strict")
"""A resumed run may change these, and keeps them where its command line says nothing. The rest
(offline, address, dry_run, reopen_test and where the run is) is asked for each time."""


_UPLOAD = re.compile(r"^/.*/working_dir_files/_ray_pkg_[0-9a-f]+/")


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage line and end the process."""

    def error(self, message: str) -> NoReturn:
        raise OptionsError(f"{message}.")


def _parser(prog: str, groups: Mapping[str, Sequence[Row]]) -> _Parser:
    where = " --address http://HEAD:8265 --out /mnt/runs" if groups is not GROUPS else ""
    parser = _Parser(
        prog=prog,
        usage=f"{prog} SPACE [flags]",
        description="Search the hyperparameters of a space file.",
        epilog=textwrap.dedent(f"""\
            example:
              {prog} spaces/any.py --data photos --positive smoking --trials 20 --minutes 15{where}
            """),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("space", nargs="?", metavar="SPACE", help="space file: spaces/digits.py")
    for title, rows in groups.items():
        group = parser.add_argument_group(title)
        for flag, metavar, _, text in rows:
            if metavar is None:
                group.add_argument(flag, action="store_true", default=None, help=text)
            else:
                action = "append" if flag in ("--known", "--stand-in") else "store"
                group.add_argument(flag, metavar=metavar, action=action, help=text)
    return parser


def parse(argv: Sequence[str], *, prog: str = "python -m search.run") -> Options:
    """Options of a command line; `--help` prints and ends the process.

    Raises:
        OptionsError: flags that do not exist, contradict each other or have
            values that are not allowed; all of them in one message.

    >>> parse(["spaces/digits.py", "--trials", "8"]).trials
    8
    """
    space, values, problems = read_flags(argv, GROUPS, prog=prog)
    return options_of(space, values, problems, prog=prog)


def read_flags(
    argv: Sequence[str], groups: Mapping[str, Sequence[Row]], *, prog: str
) -> tuple[str | None, dict[str, Any], list[str]]:
    """SPACE, the values of the flags that are there by their fields' names, and what is wrong.

    Raises:
        OptionsError: a flag stands without its value.
    """
    raw, extra = _parser(prog, groups).parse_known_args(list(argv))
    problems, values = _unknown(extra, groups), {}
    for rows in groups.values():
        for flag, _, read, _ in rows:
            name = flag.removeprefix("--").replace("-", "_")
            text = getattr(raw, name)
            if text is None:
                continue
            try:
                several = isinstance(text, list)
                values[name] = tuple(map(read, text)) if several else read(text)
            except ValueError as error:
                problems.append(f"{flag} {error}")
    return raw.space, values, problems


def options_of(
    space: str | None, values: Mapping[str, Any], problems: Sequence[str], *, prog: str
) -> Options:
    """The options that such values are.

    Raises:
        OptionsError: there are problems already, SPACE is missing, or flags contradict each other.
    """
    problems = list(problems)
    if space is None:
        there = ", ".join(sorted(str(path) for path in Path("spaces").glob("*.py")))
        here = f"; here are {there}" if there else ""
        problems.append(f"no space file was given: {prog} spaces/digits.py{here}")
    for one, other, why in (
        ("demo", "data", "a demo shows built-in images"),
        ("resplit", "keep_splits", "one drops the parts that the other keeps"),
        ("known_only", "trials", "--known-only runs as many trials as there are configurations"),
        ("known_only", "folds", "--known-only trains each configuration once and tests it"),
        ("keep_splits", "test_share", "parts that are kept are not cut"),
    ):
        if one in values and other in values:
            problems.append(f"{_flag(one)} and {_flag(other)} exclude each other: {why}")
    if "reopen_test" in values and "resume" not in values:
        problems.append("--reopen-test needs --resume: only a run that was tested can be reopened")
    if problems or space is None:
        raise OptionsError(together(problems))
    return Options(space=space, **values, given=frozenset(values))


def _unknown(extra: Sequence[str], groups: Mapping[str, Sequence[Row]]) -> list[str]:
    flags = [row[0] for rows in groups.values() for row in rows]
    wrong = [word.partition("=")[0] for word in extra if word.startswith("-")]
    if not wrong:
        return [f"{word!r} is one word too many; a run has one SPACE" for word in extra]
    end = "; --help lists all"
    return [f"{word} is not a flag{near(word, flags) or end}" for word in dict.fromkeys(wrong)]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _unpacked(value: Any) -> Any:
    """A path without the folder that Ray unpacked a job's upload into: a resumed job has another,
    and whether the images in it are the same is seen by their digest."""
    return _UPLOAD.sub("", value) if isinstance(value, str) else value


def _words(value: Any) -> str:
    if value is None or value is False:
        return "left out"
    if value is True:
        return "given"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _absolute(path: str | None) -> str | None:
    if path is None or not is_local(path):
        return path
    return str(Path(path).expanduser().absolute())
