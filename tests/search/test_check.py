"""Every mistake that a space can hold is found before the search, with its line, all at once."""

import re
import textwrap
from pathlib import Path

import pytest

from search.check import Checked, check
from search.check.__main__ import main
from search.options import parse
from search.plan import Plan, make_plan
from search.space import load_space

HEAD = """\
import random
import itertools
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Head, Images, Objective, Pretrained, Recipe, Schedule, TargetRecall

COUNTER = itertools.count()
"""
GOOD = {
    "data": 'DATA = Images("builtin:digits", positive="8", size=32, channels=1)',
    "objective": 'OBJECTIVE = Objective("recall_weighted", recall_weight=0.75)',
    "budget": "BUDGET = Budget(minutes=1, trials=16, epochs=8)",
    "known": 'KNOWN = {"one": {"kernels": 8, "lr": 1e-3}}',
    "body": """
kernels = trial.suggest_int("kernels", 8, 32, step=8)
lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
return Recipe(model=ConvNet(kernels=(kernels,)), lr=lr)
""",
}
BRANCHES = """
name = trial.suggest_categorical("model", ["convnet", "resnet18"])
if name == "convnet":
    model = ConvNet(kernels=(trial.suggest_int("kernels", 8, 32, step=8),))
else:
    model = Pretrained(name, unfreeze_depth=trial.suggest_int("unfreeze_depth", 0, 4))
return Recipe(model=model, lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True))
"""


def write(folder: Path, **parts: str) -> Path:
    texts = GOOD | parts
    body = "\n".join(f"    {line}" for line in texts["body"].strip().splitlines())
    tops = (texts[name] for name in ("data", "objective", "budget", "known"))
    text = "\n".join([HEAD, *tops, "", "def space(trial: Trial) -> Recipe:", body, ""])
    path = folder / "mine.py"
    path.write_text(text)
    return path


def planned(path: Path, *flags: str) -> Plan:
    return make_plan(load_space(path), parse([str(path), *flags]))


def checked(path: Path, *flags: str, train_images: int | None = 1000) -> Checked:
    return check(planned(path, *flags), train_images=train_images)


def marked(path: Path) -> int | None:
    """The line that ends in the mark of a mistake."""
    lines = [n for n, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("# !")]
    return lines[0] if lines else None


MISTAKES: list[tuple[str, dict[str, str], str]] = [
    (
        "a random number",
        {"body": "return Recipe(model=ConvNet(kernels=(8,)), lr=random.uniform(1e-4, 1e-2))  # !"},
        r"same answers did not give the same recipe \(Recipe.lr was .*no random numbers",
    ),
    (
        "a counter",
        {"body": "return Recipe(model=ConvNet(kernels=(8,)), lr=1e-3 / (1 + next(COUNTER) % 2))"},
        r"line 13: the same answers did not give the same recipe .* or counters",
    ),
    (
        "one name, two ranges on two branches",
        {
            "body": """
                if trial.suggest_categorical("wide", [False, True]):
                    kernels = trial.suggest_int("kernels", 8, 64)
                else:
                    kernels = trial.suggest_int("kernels", 8, 32)  # !
                return Recipe(model=ConvNet(kernels=(kernels,)), lr=1e-3)
            """,
            "known": "KNOWN = {}",
        },
        r"'kernels' is asked for with 8 to 32 here and with 8 to 64 on line 15; one name, "
        r"one range",
    ),
    (
        "one name, two ranges in one walk",
        {
            "body": """
                one = trial.suggest_int("kernels", 8, 16)
                two = trial.suggest_int("kernels", 8, 32)  # !
                return Recipe(model=ConvNet(kernels=(one, two)), lr=1e-3)
            """,
            "known": "KNOWN = {}",
        },
        r"'kernels' is asked for with 8 to 32 here and with 8 to 16 on line 14; one name, "
        r"one range",
    ),
    (
        "one name, two sets of categories",
        {
            "body": """
                deep = trial.suggest_categorical("deep", [False, True])
                lr = trial.suggest_categorical("lr", [1e-3, 1e-4] if deep else [1e-2, 1e-3])  # !
                return Recipe(model=ConvNet(kernels=(8,)), lr=lr)
            """,
            "known": "KNOWN = {}",
        },
        r"'lr' is asked for with .*0.001.* at another time; one name, one range",
    ),
    (
        "a range that depends on another answer",
        {
            "body": """
                kernels = trial.suggest_int("kernels", 8, 32, step=8)
                dense = trial.suggest_int("dense", 1, kernels)  # !
                return Recipe(
                    model=ConvNet(kernels=(kernels,)), head=Head(dense=(dense,)), lr=1e-3
                )
            """,
            "known": "KNOWN = {}",
        },
        r"'dense' is asked for with 1 to \d+ here and with 1 to \d+ at another time",
    ),
    (
        "a whole-number range and a continuous one under one name",
        {
            "body": """
                if trial.suggest_categorical("fine", [False, True]):
                    l1 = trial.suggest_float("l1", 0, 1)
                else:
                    l1 = trial.suggest_int("l1", 0, 1)  # !
                return Recipe(model=ConvNet(kernels=(8,)), lr=1e-3, l1=l1)
            """,
            "known": "KNOWN = {}",
        },
        r"'l1' is asked for with 0 to 1 of another kind here",
    ),
    (
        "a known configuration with a misspelt key",
        {"known": 'KNOWN = {\n  "one": {\n    "kernel": 8,  # !\n    "lr": 1e-3}}'},
        r"KNOWN\['one'\]: 'kernel' is not a hyperparameter of this space; did you mean 'kernels'\?",
    ),
    (
        "a known configuration out of range",
        {"known": 'KNOWN = {"one": {"kernels": 40, "lr": 1e-3}}  # !'},
        r"'kernels' must be a whole number in 8 to 32, step 8; got 40",
    ),
    (
        "a known configuration between the steps",
        {"known": 'KNOWN = {"one": {"kernels": 12}}  # !'},
        r"'kernels' must be a whole number in 8 to 32, step 8; got 12",
    ),
    (
        "a known configuration of another type",
        {"known": 'KNOWN = {"one": {"kernels": 8.0}}  # !'},
        r"'kernels' must be a whole number in 8 to 32, step 8; got 8.0",
    ),
    (
        "a known configuration with a text for a number",
        {"known": 'KNOWN = {"one": {"lr": "1e-3"}}  # !'},
        r"'lr' must be a number in 0.0001 to 0.01, log; got '1e-3'",
    ),
    (
        "a known configuration with an unknown category",
        {"body": BRANCHES, "known": 'KNOWN = {"one": {"model": "resnet-18"}}  # !'},
        r"'model' must be one of convnet, resnet18; got 'resnet-18'; did you mean 'resnet18'\?",
    ),
    (
        "a known configuration that is nested",
        {"known": 'KNOWN = {"one": {"kernels": {"first": 8}}}  # !'},
        r"KNOWN\['one'\]: must be flat: 'kernels' is \{'first': 8\}",
    ),
    (
        "a known configuration with a key of another branch",
        {
            "body": BRANCHES,
            "known": 'KNOWN = {"one": {"model": "convnet", "unfreeze_depth": 2}}  # !',
        },
        r"'unfreeze_depth' is never asked for with model='convnet'; leave it out",
    ),
    (
        "a backbone that does not exist",
        {
            "body": 'return Recipe(model=Pretrained("resnet-18"), lr=1e-3)  # !',
            "known": "KNOWN = {}",
        },
        r"'resnet-18' is not a backbone; did you mean 'resnet18'\?",
    ),
    (
        "a module that is none",
        {
            "body": 'return Recipe(model=Pretrained("resnet18", train=("layer5",)), lr=1e-3)  # !',
            "known": "KNOWN = {}",
        },
        r"train names 'layer5', and resnet18 has no parameters of that name; did you mean 'layer4'",
    ),
    (
        "a node that is none",
        {
            "body": 'return Recipe(model=Pretrained("resnet18", cut_after="layer3.x"), lr=1)  # !',
            "known": "KNOWN = {}",
        },
        r"cut_after='layer3.x' is no node of resnet18; did you mean 'layer3",
    ),
    (
        "a class token where there is none",
        {
            "body": """
            model = Pretrained("resnet18")  # !
            return Recipe(model=model, head=Head(pool="token"), lr=1e-3)
            """,
            "known": "KNOWN = {}",
        },
        r"token",
    ),
    (
        "images too small for a backbone",
        {
            "data": 'DATA = Images("builtin:digits", positive="8", size=16)',
            "body": 'return Recipe(model=Pretrained("squeezenet1_1"), lr=1e-3)  # !',
            "known": "KNOWN = {}",
        },
        r"squeezenet1_1 needs images of at least 17 x 17 pixels, got 16",
    ),
    (
        "a kernel too large for the map it sees",
        {
            "body": """
                size = trial.suggest_int("kernel_size", 3, 19, step=2)
                return Recipe(model=ConvNet(kernels=(8, 8, 8), kernel_size=size), lr=1e-3)  # !
            """,
            "known": "KNOWN = {}",
        },
        r"kernel_size \d+ is too large for the 8 x 8 map .*\(with kernel_size=\d+\)",
    ),
    (
        "more pools than the image has pixels",
        {"body": "return Recipe(model=ConvNet(kernels=(8,) * 6, kernel_size=1), lr=1e-3)  # !"},
        r"6 pools needs images of at least 64 x 64 pixels, got 32",
    ),
    (
        "a batch larger than the training part",
        {
            "body": """
                size = trial.suggest_categorical("batch_size", [32, 2048])  # !
                return Recipe(model=ConvNet(kernels=(8,)), lr=1e-3, batch_size=size)
            """,
            "known": "KNOWN = {}",
        },
        r"'batch_size' may be 2048, and there are 1000 training images; at most 1000",
    ),
    (
        "an error of the space's own",
        {
            "body": """
                depth = trial.suggest_int("depth", 0, 2)
                lr = 1e-3 / depth  # !
                return Recipe(model=ConvNet(kernels=(8,)), lr=lr)
            """,
            "known": "KNOWN = {}",
        },
        r"ZeroDivisionError: .* \(with depth=0\)",
    ),
    (
        "no recipe",
        {"body": 'trial.suggest_int("kernels", 8, 32)', "known": "KNOWN = {}"},
        r"space\(trial\) must return a Recipe, got None",
    ),
    (
        "a recipe with an impossible value",
        {
            "body": """
                rate = trial.suggest_float("dropout", 0, 1)
                head = Head(dropout=rate)  # !
                return Recipe(model=ConvNet(kernels=(8,)), head=head, lr=1e-3)
            """,
            "known": "KNOWN = {}",
        },
        r"Head.dropout must be a number in \[0, 0.95\], got .* \(with dropout=",
    ),
    (
        "an ensemble of one",
        {
            "body": """
                net = ConvNet(kernels=(8,))
                return Recipe(model=net, lr=1e-3, balance="ensemble", ensemble_parts=1)  # !
            """
        },
        r"Recipe.ensemble_parts must be a whole number in \[2, 16\], got 1",
    ),
    (
        "another vocabulary",
        {
            "body": """
                lr = trial.suggest_loguniform("lr", 1e-4, 1e-2)  # !
                return Recipe(model=ConvNet(kernels=(8,)), lr=lr)
            """,
            "known": "KNOWN = {}",
        },
        r"a space may use suggest_float, suggest_int, suggest_categorical, got "
        r"trial.suggest_loguniform",
    ),
    *[
        (
            f"a range that cannot be: {call}",
            {
                "body": f"it = trial.{call}  # !\n"
                "return Recipe(model=ConvNet(kernels=(8,)), lr=1e-3)"
            },
            text,
        )
        for call, text in [
            ('suggest_float("lr", 1e-2, 1e-4)', r"low must not be above high, got 0.01 and 0.0001"),
            (
                'suggest_float("lr", 0, 1e-2, log=True)',
                r"low must be above 0 where log=True, got 0",
            ),
            (
                'suggest_float("lr", 0, 1, step=0.3)',
                r"steps end at 0.9 and never reach 1; write 0.9",
            ),
            ('suggest_int("lr", 3, 8, step=2)', r"the steps end at 7 and never reach 8; write 7"),
            ('suggest_int("lr", 1.5, 8)', r"low must be a whole number, got 1.5"),
            ('suggest_int("lr", 1, 8, step=2, log=True)', r"step and log=True exclude each other"),
            ('suggest_int("lr", 1, 8, step=0)', r"step must be above 0, got 0"),
            ('suggest_float("lr", 0, float("inf"))', r"high must be a number, got inf"),
            ('suggest_categorical("lr", [(8, 16), (32,)])', r"numbers or texts, got \(8, 16\)"),
            ('suggest_categorical("lr", [8, 16, 8])', r"8 is twice among the choices"),
            ('suggest_categorical("lr", [])', r"choices must be a list that is not empty"),
        ]
    ],
]


def dedented(parts: dict[str, str]) -> dict[str, str]:
    return {name: textwrap.dedent(text) for name, text in parts.items()}


@pytest.mark.parametrize(("parts", "text"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_one_mistake_is_one_problem_with_its_line(
    parts: dict[str, str], text: str, tmp_path: Path
) -> None:
    if "body" in parts and "known" not in parts:
        parts = parts | {"known": "KNOWN = {}"}
    path = write(tmp_path, **dedented(parts))
    found = [p for p in checked(path).problems if "has nothing to choose from" not in p]
    assert len(found) == 1, found
    assert re.search(text, found[0]), found[0]
    line = marked(path)
    assert line is None or found[0].startswith(f"mine.py, line {line}: ")


def test_five_mistakes_are_one_message_of_five(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path,
        known='KNOWN = {\n "one": {"kernel": 8},\n "two": {"lr": 1.0},\n}',
        body="""
kernels = trial.suggest_int("kernels", 8, 33, step=8)
head = Head(dropout=trial.suggest_float("dropout", 0.5, 0.2))
batch = trial.suggest_categorical("batch_size", [32, 4096])
lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
return Recipe(model=ConvNet(kernels=(kernels,)), head=head, lr=lr, batch_size=batch)
""",
    )
    assert main([str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("5 problems:\n")
    lines = told.strip().splitlines()[1:]
    assert len(lines) == 5
    for line, text in zip(
        lines,
        [
            "line 17: 'kernels': the steps end at 32",
            "line 18: 'dropout': low must not be above high",
            "line 19: 'batch_size' may be 4096",
            "line 12: KNOWN['one']: 'kernel' is not a hyperparameter",
            "line 13: KNOWN['two']: 'lr' must be a number in 0.0001 to 0.01",
        ],
        strict=True,
    ):
        assert text in line
    assert "Traceback" not in told


def test_a_good_space_has_a_table_and_five_recipes(tmp_path: Path) -> None:
    found = checked(write(tmp_path, body=BRANCHES, known="KNOWN = {}"), "--weights", "none")
    assert found.problems == ()
    assert [(row.name, row.range, row.when) for row in found.hyperparameters] == [
        ("model", "convnet, resnet18", "always"),
        ("kernels", "8 to 32, step 8", "model = convnet"),
        ("unfreeze_depth", "0 to 4", "model = resnet18"),
        ("lr", "0.0001 to 0.01, log", "always"),
    ]
    assert len(found.samples) == 5
    assert {type(s.recipe.model).__name__ for s in found.samples} == {"ConvNet", "Pretrained"}
    assert all(0 < s.trainable <= s.parameters for s in found.samples)
    assert found.backbones == ()


def test_the_same_space_gives_the_same_answer(tmp_path: Path) -> None:
    path = write(tmp_path, body=BRANCHES, known="KNOWN = {}")
    assert checked(path, "--weights", "none") == checked(path, "--weights", "none")


def test_what_a_known_configuration_leaves_open_is_a_note(tmp_path: Path) -> None:
    path = write(tmp_path, known='KNOWN = {"one": {"kernels": 8}}')
    found = checked(path)
    assert found.problems == ()
    assert "Known configuration 'one' leaves to the sampler: lr." in found.notes


def test_known_only_refuses_what_is_left_open(tmp_path: Path) -> None:
    path = write(tmp_path, known='KNOWN = {"one": {"kernels": 8}}')
    [problem] = checked(path, "--known-only").problems
    assert "KNOWN['one'] leaves 'lr' to the sampler; --known-only needs a value" in problem


def test_a_whole_number_will_do_for_a_continuous_range(tmp_path: Path) -> None:
    body = 'return Recipe(model=ConvNet(kernels=(8,)), lr=1e-3, l1=trial.suggest_float("l1", 0, 1))'
    assert checked(write(tmp_path, body=body, known='KNOWN = {"a": {"l1": 1}}')).problems == ()


def test_a_threshold_on_a_continuous_range_is_a_note(tmp_path: Path) -> None:
    body = """
lr = trial.suggest_float("lr", 0.0, 1.0)
extra = trial.suggest_int("patience", 1, 3) if lr > 0.5 else None
return Recipe(model=ConvNet(kernels=(8,)), lr=lr + 1e-3, early_stopping=extra)
"""
    found = checked(write(tmp_path, body=body, known="KNOWN = {}"))
    assert found.problems == ()
    [note] = [note for note in found.notes if "continuous" in note]
    assert re.match(r"'patience' exists when lr at least 0.5\d*, a threshold", note)


def test_backbones_that_the_space_does_not_offer_are_a_problem(tmp_path: Path) -> None:
    path = write(tmp_path, body=BRANCHES, known="KNOWN = {}")
    [problem] = checked(path, "--backbones", "resnet18,resnet81", "--weights", "none").problems
    expected = "--backbones resnet81: no choice of this space; did you mean 'resnet18'?"
    assert problem == expected


def test_backbones_that_leave_no_choice_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, body=BRANCHES, known="KNOWN = {}")
    problems = checked(path, "--backbones", "mobilenet_v2").problems
    assert "none of them is allowed: only mobilenet_v2" in problems[0]


def test_offline_without_weights_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = write(tmp_path, body=BRANCHES, known="KNOWN = {}")
    [problem] = checked(path, "--offline").problems
    assert problem.startswith("no weights of resnet18 on this machine, and --offline")
    assert any("resnet18 are not on this machine and will be" in n for n in checked(path).notes)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--data", "nowhere"), "no images at "),
        (("--positive", "9a"), "positive '9a' is not a class"),
        (("--trial", "3"), "--trial is not a flag; did you mean '--trials'?"),
        (("--image-size", "8", "--positive", "9a"), "positive '9a' is not a class"),
    ],
)
def test_the_command_ends_with_2_and_one_message(
    flags: tuple[str, ...], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(tmp_path)), *flags]) == 2
    assert text in capsys.readouterr().err


def test_the_command_tells_data_and_space_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, known='KNOWN = {"one": {"kernel": 8}}')
    assert main([str(path), "--positive", "9a"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("2 problems:")
    assert "'9a' is not a class" in told
    assert "did you mean 'kernels'?" in told


def test_the_command_prints_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(tmp_path))]) == 0
    out = capsys.readouterr().out
    assert "kernels | 8 to 32, step 8 | always" in out
    assert "Data: 1,797 images of builtin:digits" in out
    assert "No problems." in out


def test_a_miss_costs_what_the_weight_and_the_prevalence_say(tmp_path: Path) -> None:
    # 200 images, 20 positive, w = .75: one more miss costs .75 / 20, a false alarm .25 / 180
    notes = check(planned(write(tmp_path)), prevalence=0.1).notes
    assert (
        "recall_weight=0.75, with 10% positives: a miss costs as much as 27 false alarms." in notes
    )
