"""A command line becomes one value, or one message that names all that is wrong with it."""

import dataclasses
import json
from pathlib import Path

import pytest

from search.errors import OptionsError
from search.flags import GROUPS
from search.options import Options, parse

EVERYTHING = [
    "spaces/x.py", "--data", "photos", "--positive", "ill", "--image-size", "64", "--trials", "7",
    "--epochs", "3", "--minutes", "1.5", "--seed", "4294967295", "--backbones",
    "resnet18, mobilenet_v2", "--weights", "none", "--offline", "--known", "a, b", "--known", "c",
    "--workers", "2", "--gpus-per-trial", "0.5", "--address", "auto", "--cache-gb", "2.5",
    "--name", "x-2", "--out", "here", "--resume", "--keep", "5", "--storage", "sqlite:///s.db",
    "--dry-run", "--reopen-test", "--keep-splits", "--strict", "--folds", "4",
    "--refits", "2", "--stand-in", "a=b", "--stand-in", "c=d",
]  # fmt: skip


def refused(*argv: str) -> str:
    with pytest.raises(OptionsError) as caught:
        parse(argv)
    return str(caught.value)


def test_every_flag_reaches_its_field() -> None:
    options = parse(EVERYTHING)
    assert options == Options(
        space="spaces/x.py", data="photos", positive="ill", image_size=64, trials=7, epochs=3,
        minutes=1.5, seed=2**32 - 1, backbones=("resnet18", "mobilenet_v2"), weights="none",
        offline=True, known=("a, b", "c"), workers=2, gpus_per_trial=0.5, address="auto",
        cache_gb=2.5, name="x-2", out="here", resume=True, keep=5, storage="sqlite:///s.db",
        dry_run=True, reopen_test=True, keep_splits=True, strict=True, folds=4, refits=2,
        stand_in=("a=b", "c=d"),
    )  # fmt: skip
    flags = {
        row[0].removeprefix("--").replace("-", "_") for rows in GROUPS.values() for row in rows
    }
    assert flags == {f.name for f in dataclasses.fields(Options)} - {"space", "given"}
    assert options.given == flags - {"demo", "known_only", "resplit", "test_share"}
    assert parse(["spaces/x.py", "--resplit", "--test-share", "0.3"]).test_share == 0.3


def test_what_is_left_out_has_the_defaults() -> None:
    options = parse(["spaces/x.py"])
    assert options == Options(space="spaces/x.py")
    assert (options.seed, options.keep, options.out, options.given) == (0, 3, "runs", frozenset())


@pytest.mark.parametrize(
    ("flag", "value", "text"),
    [
        ("--trials", "0", "--trials must be a whole number of at least 1, got '0'"),
        ("--trials", "-3", "--trials must be a whole number of at least 1, got '-3'"),
        ("--trials", "2.5", "--trials must be a whole number of at least 1, got '2.5'"),
        ("--epochs", "many", "--epochs must be a whole number of at least 1, got 'many'"),
        ("--minutes", "0", "--minutes must be a number above 0, got '0'"),
        ("--minutes", "inf", "--minutes must be a number above 0, got 'inf'"),
        ("--minutes", "nan", "--minutes must be a number above 0, got 'nan'"),
        ("--workers", "0", "--workers must be a whole number of at least 1, got '0'"),
        ("--gpus-per-trial", "9", "--gpus-per-trial must be a number in (0, 8], got '9'"),
        ("--gpus-per-trial", "auto", "--gpus-per-trial auto is not built yet; give a number"),
        ("--image-size", "7", "--image-size must be a whole number in [8, 4096], got '7'"),
        ("--image-size", "4097", "--image-size must be a whole number in [8, 4096], got '4097'"),
        ("--keep", "0", "--keep must be a whole number of at least 1, got '0'"),
        ("--seed", "-1", "--seed must be a whole number in [0, 4294967295], got '-1'"),
        ("--seed", "4294967296", "--seed must be a whole number in [0, 4294967295]"),
        ("--cache-gb", "0", "--cache-gb must be a number above 0, got '0'"),
        ("--name", "a/b", "--name must be a plain folder name"),
        ("--name", "..", "--name must be a plain folder name"),
        ("--name", "", "--name must be a plain folder name"),
        (
            "--weights",
            "imagnet",
            "must be imagenet or none, got 'imagnet'; did you mean 'imagenet'?",
        ),
        ("--backbones", ",", "--backbones must be names with commas between them, got ','"),
        ("--data", "", "--data must not be empty"),
        ("--storage", "study.db", "--storage must be a URL such as sqlite:///study.db"),
        ("--refits", "21", "--refits must be a whole number in [0, 20], got '21'"),
    ],
)
def test_a_value_that_is_not_allowed_is_told_with_what_is(flag: str, value: str, text: str) -> None:
    assert text in refused("spaces/x.py", flag, value)


@pytest.mark.parametrize(
    ("flags", "given"), [([], "clean"), (["--keep-splits"], "keep"), (["--resplit"], "resplit")]
)
def test_given_parts_are_cleaned_kept_or_split_anew(flags: list[str], given: str) -> None:
    assert parse(["spaces/x.py", *flags]).given_parts == given


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["x.py", "--trails", "3"], "--trails is not a flag; did you mean '--trials'?"),
        (["x.py", "--trails=3"], "--trails is not a flag; did you mean '--trials'?"),
        (["x.py", "--quick"], "--quick is not a flag; --help lists all."),
        (["x.py", "--trial", "3"], "--trial is not a flag; did you mean '--trials'?"),
        (["x.py", "y.py"], "'y.py' is one word too many; a run has one SPACE."),
        (["x.py", "--trials"], "argument --trials: expected one argument."),
        (["x.py", "--demo", "--data", "d"], "--demo and --data exclude each other"),
        (["x.py", "--known-only", "--trials", "3"], "--known-only and --trials exclude each other"),
        (["x.py", "--resplit", "--keep-splits"], "--resplit and --keep-splits exclude each other"),
        (["x.py", "--reopen-test"], "--reopen-test needs --resume"),
        ([], "no space file was given: python -m search.run spaces/digits.py"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(argv: list[str], text: str) -> None:
    message = refused(*argv)
    assert message.startswith(text)
    assert "\n" not in message


def test_several_mistakes_are_told_together() -> None:
    message = refused("x.py", "--epoch", "3", "--trials", "0", "--refits", "-5", "--weights", "all")
    lines = message.splitlines()
    assert lines[0] == "4 problems:"
    assert [line.split()[0] for line in lines[1:]] == [
        "--epoch",
        "--trials",
        "--refits",
        "--weights",
    ]


def test_help_shows_every_flag_and_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], prog="python -m search.check")
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(row[0] in out for rows in GROUPS.values() for row in rows)
    assert "example:\n  python -m search.check spaces/any.py" in out


def test_options_survive_json_and_name_absolute_paths() -> None:
    body = json.loads(json.dumps(parse(EVERYTHING).to_json()))
    assert body["backbones"] == ["resnet18", "mobilenet_v2"]
    for name, given in (("space", "spaces/x.py"), ("data", "photos"), ("out", "here")):
        assert body[name] == str(Path.cwd() / given)
    assert parse(["x.py", "--data", "builtin:digits"]).to_json()["data"] == "builtin:digits"


OLD = ["x.py", "--epochs", "5", "--backbones", "resnet18", "--trials", "10", "--offline"]


def test_a_resumed_run_keeps_what_its_command_line_leaves_out() -> None:
    old = json.loads(json.dumps(parse(OLD).to_json()))
    resumed = parse(["x.py", "--resume", "--trials", "20"]).resumed(old)
    assert (resumed.epochs, resumed.backbones, resumed.trials) == (5, ("resnet18",), 20)
    assert resumed.resume
    assert not resumed.offline  # of the moment, not of the run


@pytest.mark.parametrize("flag", ["--keep-splits", "--resplit", "--strict"])
def test_a_resumed_run_goes_on_with_its_parts_and_its_strictness(flag: str) -> None:
    begun = parse(["x.py", flag])
    resumed = parse(["x.py", "--resume"]).resumed(json.loads(json.dumps(begun.to_json())))
    assert resumed.given_parts == begun.given_parts
    assert resumed.strict == begun.strict


def test_a_run_of_a_version_without_a_flag_is_resumed_without_it() -> None:
    new = ("resplit", "keep_splits", "strict")
    old = {name: value for name, value in parse(OLD).to_json().items() if name not in new}
    resumed = parse(["x.py", "--resume"]).resumed(old)
    assert (resumed.given_parts, resumed.strict) == ("clean", False)


@pytest.mark.parametrize(
    "flags",
    [
        ["--trials", "20"], ["--minutes", "9"], ["--workers", "3"], ["--gpus-per-trial", "1"],
        ["--offline"], ["--cache-gb", "9"], ["--keep", "1"], ["--dry-run"], ["--reopen-test"],
        ["--address", "a"], ["--epochs", "5"], ["--backbones", "resnet18"], ["--seed", "0"],
        ["--strict"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_resumed_run_may_repeat_itself_and_change_how_it_is_run(flags: list[str]) -> None:
    assert parse(["x.py", "--resume", *flags]).changed(parse(OLD).to_json()) == []


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--epochs", "6"], "--epochs was 5 when the run began and cannot become 6"),
        (["--seed", "1"], "--seed was 0 when"),
        (["--data", "d"], "--data was left out when"),
        (
            ["--backbones", "a,b"],
            "--backbones was resnet18 when the run began and cannot become a,b",
        ),
        (["--weights", "none"], "--weights was left out when the run began"),
        (["--demo"], "--demo was left out when the run began and cannot become given"),
        (["--keep-splits"], "--keep-splits was left out when the run began"),
        (["--resplit"], "--resplit was left out when the run began and cannot become given"),
        (["--storage", "sqlite:///a"], "--storage was left out when"),
    ],
)
def test_a_resumed_run_cannot_become_another(flags: list[str], text: str) -> None:
    old = parse(OLD).to_json()
    options = parse(["x.py", "--resume", *flags])
    [message] = options.changed(old)
    assert message.startswith(text)
    assert message.endswith("leave it out, or begin another run with --name")
    with pytest.raises(OptionsError, match="when the run began"):
        options.resumed(old)


def test_images_that_went_with_a_job_may_be_unpacked_elsewhere() -> None:
    unpacked = "/tmp/ray/session_{}/runtime_resources/working_dir_files/_ray_pkg_{}/data/photos"
    old = parse(["x.py", "--data", unpacked.format("a", "0f")]).to_json()
    moved = parse(["x.py", "--resume", "--data", unpacked.format("b", "1e")])
    assert moved.resumed(old).data == unpacked.format("b", "1e")
    other = parse(["x.py", "--resume", "--data", unpacked.format("b", "1e") + "2"])
    with pytest.raises(OptionsError, match="--data was /tmp/ray/session_a"):
        other.resumed(old)


def test_the_command_that_resumes_is_short() -> None:
    options = parse(["my spaces/x.py", "--trials", "9", "--out", "o", "--address", "auto"])
    expected = "python -m search.run 'my spaces/x.py' --name x-2 --out o --address auto --resume"
    assert options.resume_command("x-2") == expected
