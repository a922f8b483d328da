"""The page is read with a parser; its run's folder is made by the functions that make real ones."""

import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted import with_wilson
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import spearmanr

from search.errors import RunError
from search.report import write_report
from search.report.__main__ import main
from search.report.drawing import curves, scatter
from search.report.html import Html, element
from search.report.look import SCRIPT
from search.report.matters import matters
from search.result import build_result
from search.rundir import RunDir
from search.tensorboard import TensorBoard
from search.trials import EpochDone, TrialEnded, TrialRow, TrialStarted
from search.trials_csv import CsvRow, trials_csv
from xfer.evaluate.subgroups import measure_subgroups
from xfer.recipe import Objective

EVIL = '<script>alert("x")</script>'
VOID = {"meta", "circle", "line", "polyline", "br", "img", "link"}


class Page(HTMLParser):
    """Elements that are open are closed in order; text by element; attributes as they come."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data)

    def said(self) -> str:
        skipped = ("script", "style")
        return " ".join(t for tag, all_ in self.text.items() if tag not in skipped for t in all_)


def trial(number: int, state: Any = "complete", **changes: Any) -> TrialRow:
    score = 0.6 + 0.02 * number
    model = "convnet" if number % 2 else "resnet18"
    params: dict[str, Any] = {"model": model, "lr": 10 ** (-5 + number / 4)}
    params |= {"convnet/kernel_size": 3 + 2 * (number % 3)} if number % 2 else {}
    values: dict[str, Any] = {
        "name": EVIL if number == 2 else None, "value": score, "params": params, "recipe": None,
        "scores": {1: score - 0.1, 2: score, 3: score - 0.05}, "best_epoch": 2,
        "val": {"recall": score, "specificity": 0.5, "auroc": 0.9}, "seconds": 2.0 + number,
        "ended": "all epochs",
    }  # fmt: skip
    return TrialRow(number=number, state=state, **(values | changes))


ROWS = [
    *(trial(number) for number in range(12)),
    trial(12, "pruned", scores={1: 0.3}, value=0.3, best_epoch=1),
    trial(13, "infeasible", value=None, scores={}, best_epoch=None, val={}, ended="not finite"),
]


def record(run: RunDir, rows: list[TrialRow]) -> None:
    ranges: dict[str, Any] = {
        "model": CategoricalDistribution(("convnet", "resnet18")),
        "lr": FloatDistribution(1e-5, 1e-2, log=True),
        "convnet/kernel_size": CategoricalDistribution((3, 5, 7)),
    }
    with TensorBoard(run.tensorboard, ranges) as board:
        for row in rows:
            board(TrialStarted(number=row.number, name=row.name, params=row.params, recipe={}))
            for epoch, score in row.scores.items():
                result = {"epoch": epoch, "train": {"loss": 1 / epoch}, "val": {"loss": 0.5}}
                result |= {"search_score": score, "threshold": 0.5, "seconds": 1.0}
                result["best"] = epoch == row.best_epoch
                board(EpochDone(number=row.number, result=result))
            board(TrialEnded(number=row.number, state=row.state, ended=row.ended))
    run.write_text(run.trials, trials_csv(rows))


AUDIT = {
    "findings": [
        {"kind": "near_duplicate", "count": 3, "examples": ["a.png", EVIL], "effect": "optimistic",
         "action": "kept on one side"},
    ],
    "splits": {
        "train": {"images": 400, "patients": 310, "classes": {"NORMAL": 100, "PNEUMONIA": 300}},
        "test": {"images": 100, "patients": 100, "classes": {"NORMAL": 50, "PNEUMONIA": 50}},
    },
}  # fmt: skip
BINARY = {"tp": 49, "fp": 4, "fn": 1, "tn": 46}
MATRIX = {"classes": ["healthy", EVIL], "matrix": [[29, 6], [3, 30]]}


def finished(folder: Path, *, demo: bool = False, several: bool = False, **changes: Any) -> RunDir:
    run = RunDir(folder)
    record(run, ROWS)
    metrics = {"recall": 0.98, "auroc": 0.97, "accuracy": 0.95, f"recall/{EVIL}": 30 / 33}
    metrics |= {"accuracy_at_0.5": 0.94, "precision_at_0.01": 0.2}
    test = with_wilson(metrics, MATRIX if several else BINARY)
    rule = {"kind": "TargetRecall", "recall": 0.95}
    result = build_result(
        name=folder.name, demo=demo, seed=3, objective=Objective("recall_weighted"), rows=ROWS,
        positive=None if several else "PNEUMONIA", best=ROWS[11], test=test,
        marks=["only 50 images of PNEUMONIA in validation"], seconds={"total": 90.0},
        threshold=None if several else {"value": 0.31, "chosen_on": "val", "rule": rule},
        **changes,
    )  # fmt: skip
    run.write_json(run.result, result)
    run.write_json(run.audit, AUDIT)
    run.best.mkdir()
    run.write_json(run.best / "threshold.json", {"said": "It vouches for a recall of .95."})
    run.write_json(run.best / "recipe.json", {"kind": "Recipe", "lr": 0.001, "note": EVIL})
    manifest: dict[str, Any] = {
        "versions": {"torch": "2.15.0"},
        "command": f"run --name {EVIL}",
        "seed": 3,
    }
    manifest["plan"] = {"data": {"positive": "PNEUMONIA"}}
    run.write_json(run.manifest, manifest)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("runs") / "pneumonia-3"
    folder.mkdir()
    return finished(folder)


@pytest.fixture(scope="module")
def page(run: RunDir) -> Page:
    return Page(write_report(run.root).read_text())


def test_the_answer_and_the_final_table_are_on_the_page(page: Page) -> None:
    said = page.said()
    assert "Missed 1 of 50 PNEUMONIA (recall .98, .90 to 1.00); 4 false alarms in 50 others" in said
    for part in (
        "called PNEUMONIA",
        "is other",
        "TargetRecall(recall=0.95)",
        "It vouches for a recall",
        "accuracy at a threshold of .5",
        "precision where 1% are positive",
    ):
        assert part in said
    assert "only 50 images of PNEUMONIA in validation" in said


def test_every_trial_has_a_row_that_says_how_it_ended(page: Page, run: RunDir) -> None:
    text = run.report.read_text()
    table = text[text.index('<table class="sort">') :]
    assert table[: table.index("</table>")].count("<tr") == len(ROWS) + 1
    assert "not finite" in page.said()


def test_winner_data_and_manifest_are_on_the_page(page: Page) -> None:
    said = page.said()
    for part in ("Trial 11", "near duplicate", "kept on one side", "310", "2.15.0", "90 seconds"):
        assert part in said


def test_the_best_trials_have_curves(page: Page, run: RunDir) -> None:
    text = run.report.read_text()
    assert text.count("<polyline") == 5 + 2  # scores of five trials, two losses of the best
    assert "trial 11, epoch 2: 0.82" in text


def test_every_hyperparameter_has_a_picture_and_a_share(page: Page, run: RunDir) -> None:
    text = run.report.read_text()
    for name in ("model", "lr", "convnet/kernel_size"):
        assert f"<title>score against {name}</title>" in text
        assert f"<td>{name}</td>" in text
    assert "larger was better" in page.said()  # lr, by construction


def test_elements_are_closed_in_order(page: Page) -> None:
    assert page.open == []


def test_what_the_data_says_is_never_markup(page: Page, run: RunDir) -> None:
    text = run.report.read_text()
    assert EVIL not in text
    assert page.said().count(EVIL) == 3  # a trial's name, a file, the manifest
    assert text.count("<script") == 1


def test_nothing_is_loaded_from_anywhere(page: Page, run: RunDir) -> None:
    loads = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "background"}
    assert not [entry for entry in page.attributes if entry[1] in loads]
    text = run.report.read_text().lower()
    for part in ("http:", "https:", "url(", "@import", "fetch(", "xmlhttprequest"):
        assert part not in text
    (policy,) = [v for _, n, v in page.attributes if n == "content" and "default-src" in v]
    assert policy.startswith("default-src 'none';")


def test_it_is_made_for_a_phone_in_the_dark(run: RunDir) -> None:
    text = run.report.read_text()
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text
    assert "overflow-x: auto" in text


def test_several_classes_show_their_matrix(tmp_path: Path) -> None:
    page = Page(write_report(finished(tmp_path, several=True).root).read_text())
    said = page.said()
    assert "Right in 59 of 68" in said
    assert "is healthy" in said
    assert ".91 (.76 to .97)" in said  # recall of the second class
    assert "The threshold" not in said


def test_a_demo_says_so_above_all(tmp_path: Path) -> None:
    said = Page(write_report(finished(tmp_path, demo=True).root).read_text()).said()
    assert "DEMO, SYNTHETIC IMAGES: nothing below is about real images." in said
    assert "DEMO, SYNTHETIC IMAGES: Missed 1 of 50" in said


def test_finalists_ensemble_front_and_gap_are_on_the_page(tmp_path: Path) -> None:
    known = {"name": EVIL, "low": 0.9, "high": 0.99, "scores": [0.94, 0.96]}
    difference = {"metric": "auroc", "value": 0.01, "low": -0.02, "high": 0.04, "beaten": False}
    gap = {"value": 0.03, "low": -0.01, "high": 0.07}
    run = finished(
        tmp_path,
        chosen_by="folds",
        constant=0.5,
        ledger="The test images were opened once on this machine (run x).",
        finalists=[
            known | {"number": 11, "mean": 0.9512, "probability": 0.7, "parameters": 12345},
            known | {"number": 2, "mean": 0.9481, "probability": 0.3, "parameters": 99},
        ],
        ensemble=with_wilson({}, BINARY) | {"trials": [11, 2], "difference": difference},
        front=[
            {"number": 11, "name": None, "params": {"lr": 0.1}, "search_score": 0.95,
             "parameters": 12345},
            {"number": 2, "name": EVIL, "params": {}, "search_score": 0.9, "parameters": 99},
        ],
        gap={"metrics": {"recall": gap}, "caution": "Nobody knows the patients."},
    )  # fmt: skip
    page = Page(write_report(run.root).read_text())
    said = page.said()
    for part in (
        "Trial 11 was chosen: mean .95 over 2 folds", "Trial 2, simpler, is within .005.",
        ".951", ".948", "12,345", "chosen among the finalists on folds", "skill .64",
        "The two together (trials 11, 2): missed 1 of 50 PNEUMONIA",
        "Search score against parameters", "+.03, -.01 to +.07",
        "Nobody knows the patients.", "opened once on this machine (run x)",
    ):  # fmt: skip
        assert part in said, part
    text = run.report.read_text()
    assert EVIL not in text
    assert page.open == []
    joined = re.search(r'<title>search score against param.*?points="([^"]+)"', text, re.DOTALL)
    assert joined is not None
    (cheap_x, cheap_y), (dear_x, dear_y) = (
        map(float, place.split(",")) for place in joined[1].split()
    )
    assert cheap_x < dear_x
    assert cheap_y > dear_y  # down is up


def test_subgroups_are_a_table_and_the_worse_one_is_marked(tmp_path: Path) -> None:
    run = finished(tmp_path)
    result = json.loads(run.result.read_text())
    labels, patients = [1] * 80, [f"p{i}" for i in range(80)]
    names = ["virus"] * 40 + ["bacteria"] * 40
    called = [i % 2 if i < 40 else 1 for i in range(80)]
    result["test"]["subgroups"] = measure_subgroups(called, labels, patients, names, binary=True)
    run.write_json(run.result, result)
    said = Page(write_report(run.root).read_text()).said()
    assert "Worse in virus: recall .50" in said
    assert "bacteria" in said
    assert "-.50" in said


def test_the_bold_trial_is_the_winner_and_not_the_best_score(tmp_path: Path) -> None:
    run = finished(tmp_path, constant=0.5)
    result = json.loads(run.result.read_text())
    result["best"]["number"] = 4
    run.write_json(run.result, result)
    text = Path(write_report(run.root)).read_text()
    assert text.count('<tr class="best">') == 1
    assert '<tr class="best"><td class="n">4</td>' in text


def test_the_ledger_is_not_told_twice(tmp_path: Path) -> None:
    mark = "only 50 images of PNEUMONIA in validation"
    text = write_report(finished(tmp_path, ledger=mark).root).read_text()
    assert text.count(mark) == 1


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    run = finished(tmp_path, interrupted=True)
    record(run, [*ROWS[:3], trial(3, "waiting")])
    said = Page(write_report(run.root).read_text()).said()
    assert "This run was interrupted" in said
    assert "1 of its trials are not finished" in said


def test_a_killed_run_shows_what_it_had(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    record(run, ROWS[:4])
    run.write_json(run.manifest, {"plan": {"demo": True}})
    page = Page(write_report(tmp_path).read_text())
    said = page.said()
    assert "has not ended, or was killed" in said
    assert "DEMO, SYNTHETIC IMAGES: Best so far is trial 3, with a search score of .66" in said
    assert "The test part has not been opened." in said
    assert run.report.read_text().count("<polyline") == 4 + 2


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    said = Page(write_report(tmp_path).read_text()).said()
    assert "No trial has a score yet." in said
    assert "There are none yet." in said


def test_a_damaged_file_is_named_and_the_rest_shown(tmp_path: Path) -> None:
    run = finished(tmp_path)
    run.result.write_text('{"name": ')
    run.trials.write_text("number,name\nx,y\n")
    said = Page(write_report(tmp_path).read_text()).said()
    assert "Damaged and left out: result.json" in said
    assert "Damaged and left out: trials.csv" in said
    assert "near duplicate" in said


def test_the_command_names_the_page_or_says_what_is_wrong(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.root)]) == 0
    assert capsys.readouterr().out == f"{run.report}\n"
    assert main([str(tmp_path / "nothing")]) == 2
    assert "is no run's folder" in capsys.readouterr().err
    with pytest.raises(RunError, match="no run's folder"):
        write_report(tmp_path)


def test_the_page_is_made_without_torch_ray_or_optuna(run: RunDir) -> None:
    code = (
        "import sys; from search.report import write_report; write_report(sys.argv[1]);"
        "print(sorted({'torch', 'ray', 'optuna', 'tensorflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(run.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --------------------------------------------------------------------------------------------------
# Its parts


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "a<b", Html("<br/>"), title='"q"') == (
        '<p title="&quot;q&quot;">a&lt;b<br/></p>'
    )


def test_curves_leave_out_what_is_not_finite() -> None:
    drawn = curves([("a", {1: 0.5, 2: math.nan, 3: 0.7})], name="score")
    assert drawn is not None
    assert drawn.count("<circle") == 2
    assert "nan" not in drawn
    assert curves([("a", {1: math.nan})], name="score") is None


@pytest.mark.parametrize(
    "points",
    [
        [(0.001, 0.5)],
        [(0.001, 0.5), (0.001, 0.5)],
        [(0.0, 0.5), (1.0, 0.6)],
        [(1e-5, 0.5), (1e-1, 0.6)],
        [("a", 0.5), ("b", 0.6), (3.0, 0.7)],
        [(f"a very long name of a choice {i}", 0.1 * i) for i in range(9)],
    ],
)
def test_dots_stay_inside_their_picture(points: list[tuple[float | str, float]]) -> None:
    drawn = Page(scatter(points, best=0, name="x", caption=""))
    places = {"cx": 260, "cy": 170}
    found = [(n, float(v)) for tag, n, v in drawn.attributes if tag == "circle" and n in places]
    assert len(found) == 2 * len(points)
    assert all(0 <= value <= places[name] for name, value in found)


def csv_row(number: int, value: float, **params: float | str) -> CsvRow:
    return CsvRow(
        number=number, name="", state="complete", value=value, best_epoch=1, epochs=1, seconds=1.0,
        ended="", val={}, params=params,
    )  # fmt: skip


def test_the_hyperparameter_that_decides_comes_first() -> None:
    generator = np.random.default_rng(0)
    noise, decides = generator.random(60), generator.random(60)
    rows = [csv_row(i, -decides[i], noise=noise[i], decides=decides[i]) for i in range(60)]
    first, second = matters(rows)
    assert (first.name, first.rising) == ("decides", False)
    assert first.share == pytest.approx(1.0)
    rho = spearmanr(noise, -decides).statistic
    assert second.share == pytest.approx(max(0.0, 1 - (1 - rho**2) * 59 / 58))


def test_a_choice_explains_what_its_groups_explain() -> None:
    rows = [csv_row(i, float(i % 2) + i / 1000, model="ab"[i % 2], coin="xy"[i // 2 % 2])
            for i in range(40)]  # fmt: skip
    by_name = {matter.name: matter.share for matter in matters(rows)}
    assert by_name["model"] is not None
    assert by_name["model"] > 0.7
    assert by_name["coin"] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    "rows",
    [
        [csv_row(i, float(i), lr=float(i)) for i in range(7)],  # too few
        [csv_row(i, float(i), lr=1.0) for i in range(20)],  # one value
        [csv_row(i, 0.5, lr=float(i)) for i in range(20)],  # one score
        [csv_row(i, float(i), lr=str(i)) for i in range(9)],  # a choice of its own for each
    ],
)
def test_nothing_is_said_where_nothing_can_be(rows: list[CsvRow]) -> None:
    (matter,) = matters(rows)
    assert matter.share is None


FAKE_TABLE = """
const cell = v => v === null ? {dataset: {}, textContent: "\u2013"}
  : typeof v === "number" ? {dataset: {v: String(v)}, textContent: "shown"}
  : {dataset: {}, textContent: v};
const rows = VALUES.map(v => ({cells: [cell(v)], v}));
const head = {dataset: {}};
const append = row => { rows.splice(rows.indexOf(row), 1); rows.push(row); };
const table = {tBodies: [{rows, append}], tHead: {rows: [{cells: [head]}]}};
const document = {querySelectorAll: () => [table]};
SCRIPT
for (let i = 0; i < 2; i++) { head.onclick(); console.log(JSON.stringify(rows.map(r => r.v))); }
"""


@pytest.mark.parametrize(
    ("values", "up", "down"),
    [
        ([10, None, 9, 100], [9, 10, 100, None], [100, 10, 9, None]),
        (["b", "a", "c"], ["a", "b", "c"], ["c", "b", "a"]),
        (["10", "9", "100"], ["9", "10", "100"], ["100", "10", "9"]),
    ],
)
def test_a_click_sorts_up_and_a_second_one_down(
    values: list[Any], up: list[Any], down: list[Any]
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine to run the page's script")
    code = FAKE_TABLE.replace("VALUES", json.dumps(values)).replace("SCRIPT", SCRIPT)
    done = subprocess.run([node, "-e", code], capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [up, down]


def test_a_page_is_sorted_by_a_real_browser(run: RunDir, tmp_path: Path) -> None:
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        pytest.skip("no Chromium on this machine: only the parser has read the page")
    write_report(run.root)
    text = run.report.read_text().replace(
        "</body>",
        "<script>document.querySelectorAll('.sort th')[3].click();"
        "document.title = document.querySelector('.sort tbody tr td').textContent</script></body>",
    )
    clicked = tmp_path / "clicked.html"
    clicked.write_text(text)
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        f"file://{clicked}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "<title>12</title>" in done.stdout  # the lowest score


def test_json_of_every_fixture_is_strict(run: RunDir) -> None:
    for path in (run.result, run.audit, run.manifest):
        json.loads(path.read_text(), parse_constant=pytest.fail)


def test_scores_that_differ_by_rounding_alone_can_be_drawn() -> None:
    points = [(0.1, 2 / 3), (0.2, 2 / 3 + 1.2e-16), (0.3, 2 / 3 - 1.2e-16)]
    assert len({score for _, score in points}) > 1
    drawn = scatter(points, best=1, name="lr", caption="")
    assert drawn.count("<circle") == 3
