"""What was done to the parts of the images is on the screen and in every file, or refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.check.__main__ import main as check_main
from search.check.inspection import Inspection, inspect
from search.options import parse
from search.outcome import Context, write_outcome
from search.plan import SPLIT_SEED, Plan, make_plan
from search.report import write_report
from search.rundir import RunDir
from search.screen import tell_parts
from search.session import search
from search.space import load_space
from search.strict import refuse_findings
from xfer.data.audit import audit
from xfer.data.dataset import Dataset, Loading, load_dataset
from xfer.data.findings import Finding
from xfer.errors import DataError
from xfer.store import Store

SPACE = """\
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Images, Objective, Recipe

DATA = Images({root!r}, positive="ill", size=8, patient=r"(.+)_")
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75)
BUDGET = Budget(trials=4, epochs=2)


def space(trial: Trial) -> Recipe:
    lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    return Recipe(model=ConvNet(kernels=(8,)), lr=lr, batch_size=8)
"""
PATIENT = "2 images of 1 patient are to be taken out of train: the test part has images of the same"
TAKEN = PATIENT.replace("are to be", "were")
PICTURE = "1 image was taken out of train: the val part has the same picture."
KEPT = (
    "Splits kept as given: 1 patient of the test part is also in train; 1 picture of the val part"
    " is also in train."
)


def draw(root: Path, part: str, kind: str, patient: str, *, seed: int) -> Path:
    path = root / part / kind / f"{patient}_{seed}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def planned(folder: Path, *flags: str, leaks: bool = True) -> Plan:
    """A space over twelve images in each part; with leaks, a patient and a picture of train too."""
    root, seed = folder / "images", 0
    for part in ("train", "val", "test"):
        for kind in ("ill", "well"):
            for number in range(6):
                seed += 1
                draw(root, part, kind, f"{part}{kind}{number}", seed=seed)
    if leaks:
        for seed in (100, 101):
            draw(root, "train", "ill", "testill0", seed=seed)
        draw(root, "train", "ill", "copy", seed=13)  # the first of val
    path = folder / "mine.py"
    path.write_text(SPACE.format(root=str(root)))
    return make_plan(load_space(path), parse([str(path), *flags]))


def loaded(folder: Path, plan: Plan) -> tuple[Dataset, Loading]:
    return load_dataset(
        plan.data, store=Store(folder / "store"), seed=SPLIT_SEED, given=plan.options.given_parts
    )


def written(folder: Path, plan: Plan) -> tuple[RunDir, dict[str, Any]]:
    """A run's folder after no trial was finished, and its result."""
    data, loading = loaded(folder, plan)
    run = RunDir(folder / "run")
    run.root.mkdir()
    run.write_json(run.manifest, {"plan": plan.to_json()})
    run.write_json(run.audit, audit(data, loading).to_json())
    context = Context(run=run, plan=plan, data=data, loading=loading, columns=("lr",), began=0.0)
    return run, write_outcome(context, [], None)


def told(inspection: Inspection, loading: Loading) -> list[str]:
    lines: list[str] = []
    tell_parts(inspection, loading, lines.append)
    return lines


def test_a_listing_tells_patients_and_the_images_tell_copies(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    inspection = inspect(plan)
    assert any(note.startswith(PATIENT) for note in inspection.checked.notes)
    _, loading = loaded(tmp_path, plan)
    assert any(line.startswith(TAKEN) for line in loading.made)  # as was said before
    assert told(inspection, loading) == [f"note, now that the images are read: {PICTURE}"]


def test_taken_out_images_are_in_no_part_and_counted(tmp_path: Path) -> None:
    data, loading = loaded(tmp_path, planned(tmp_path))
    assert {part: len(rows) for part, rows in data.splits.items()} == {
        "train": 12, "val": 12, "test": 12,
    }  # fmt: skip
    summary = loading.summary()
    assert (summary["images"], summary["removed"]) == (39, 3)
    out = set(range(39)) - {int(i) for rows in data.splits.values() for i in rows}
    assert {data.patients[i] for i in out} == {"testill0", "copy"}
    assert {loading.origins[i] for i in out} == {"train"}
    assert loading.made == loading.removed
    assert len(loading.removed) == 2


def test_what_was_taken_out_is_in_audit_json_and_on_the_page(tmp_path: Path) -> None:
    run, _ = written(tmp_path, planned(tmp_path))
    audit = json.loads(run.audit.read_text())
    assert audit["made"][1] == PICTURE
    assert audit["marks"] == []
    page = run.report.read_text()
    assert PICTURE in page
    assert TAKEN in page


def test_the_audit_names_leaks_that_were_mended(tmp_path: Path) -> None:
    data, loading = loaded(tmp_path, planned(tmp_path))
    found = audit(data, loading).to_json()
    by_kind = {finding["kind"]: finding for finding in found["findings"]}
    assert {"patient_leak", "duplicate"} <= set(by_kind)
    leak = by_kind["patient_leak"]
    assert (leak["count"], leak["examples"]) == (1, ["testill0: test, train"])
    assert leak["action"].endswith("were left out: 2 of train.")
    assert found["splits"]["train"]["images"] == 12


def test_kept_splits_are_marked_in_every_output(tmp_path: Path) -> None:
    plan = planned(tmp_path, "--keep-splits")
    inspection = inspect(plan)
    assert any("1 patient of the test part is also in train" in n for n in inspection.checked.notes)
    data, loading = loaded(tmp_path, plan)
    assert len(data.splits["train"]) == 15
    assert told(inspection, loading) == [f"note, now that the images are read: {KEPT}"]
    run, result = written(tmp_path, plan)
    assert result["marks"] == [KEPT]
    assert json.loads(run.result.read_text())["marks"] == [KEPT]
    assert json.loads(run.audit.read_text())["marks"] == [KEPT]
    assert run.report.read_text().count(KEPT) == 1
    run.result.unlink()  # as of a run that is not over
    write_report(run.root)
    assert KEPT in run.report.read_text()


def test_a_leak_is_one_finding_whether_it_is_mended_or_kept(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    for given in ("clean", "keep", "resplit"):
        data, loading = load_dataset(plan.data, store=Store(tmp_path / "store"), given=given)
        kinds = [found["kind"] for found in audit(data, loading).to_json()["findings"]]
        assert kinds.count("patient_leak") == (given != "resplit")


def test_kept_splits_without_a_leak_say_so(tmp_path: Path) -> None:
    _, result = written(tmp_path, planned(tmp_path, "--keep-splits", leaks=False))
    assert result["marks"] == [
        "Splits kept as given: no patient or copied picture was found in two parts."
    ]


def test_splits_that_are_cleaned_or_made_anew_leave_no_mark(tmp_path: Path) -> None:
    plan = planned(tmp_path, "--resplit")
    _, loading = loaded(tmp_path, plan)
    assert loading.marks == ()
    assert sum(sum(part.values()) for part in loading.counts.values()) == 39
    assert "put together" in loading.made[0]
    assert "put together" in " ".join(inspect(plan).checked.notes)


# --------------------------------------------------------------------------------------------------
# --strict


def finding(kind: str, *, refused: bool = True) -> Finding:
    return Finding(
        kind=kind, count=1234, examples=("a.png",), effect="It looks better.", action="Mend it.",
        refused=refused,
    )  # fmt: skip


def refusal(*kinds: str) -> str:
    found = [finding(kind) for kind in kinds]
    with pytest.raises(DataError) as caught:
        refuse_findings(found, where="r/audit.json", resume="python -m search.run x --resume")
    return str(caught.value)


def test_a_strict_run_is_refused_with_all_findings_and_the_way_on() -> None:
    message = refusal("duplicate", "patient_leak")
    assert message.splitlines() == [
        "2 problems:",
        "  --strict: duplicate, 1,234: It looks better. Mend it",
        "  --strict: patient_leak, 1,234: It looks better. Mend it",
        "Nothing was trained; r/audit.json has examples. Mend the images and go on with",
        "  python -m search.run x --resume",
        "or begin another run without --strict.",
    ]
    assert refusal("unreadable").startswith("--strict: unreadable, 1,234: ")


def test_findings_that_nobody_can_mend_are_not_refused() -> None:
    refuse_findings([finding("imbalance", refused=False)], where="", resume="")
    refuse_findings([], where="", resume="")


def refused_run(plan: Plan, folder: Path, *flags: str) -> str:
    argv = [str(plan.space.path), "--strict", "--out", str(folder / "runs"), *flags]
    with pytest.raises(DataError) as caught:
        search(parse(argv), argv=argv, say=lambda line: None)
    return str(caught.value)


def test_a_strict_run_trains_nothing_and_goes_on_when_the_images_are_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "store"))
    plan = planned(tmp_path)
    message = refused_run(plan, tmp_path)
    assert "--strict: patient_leak, 1:" in message
    assert "--strict: duplicate, 1:" in message
    run = RunDir(tmp_path / "runs" / "mine")
    assert str(run.audit) in message
    assert f"{plan.space.path} --name mine --out" in message
    audit = json.loads(run.audit.read_text())
    assert {"patient_leak", "duplicate"} <= {found["kind"] for found in audit["findings"]}
    assert not run.study.exists()
    for path in (tmp_path / "images/train/ill").glob("testill0_*"):
        path.unlink()
    message = refused_run(plan, tmp_path, "--resume")
    assert "--strict: duplicate, 1:" in message
    assert "patient_leak" not in message


def test_check_tells_the_findings_and_with_strict_refuses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "store"))
    path = str(planned(tmp_path).space.path)
    assert check_main([path]) == 0
    out = capsys.readouterr().out
    assert f"note: {PATIENT}" in out
    assert f"note, now that the images are read: {PICTURE}" in out
    assert "duplicate, 1: 1 image repeats another one pixel for pixel." in out
    assert "patient_leak, 1: These patients" in out
    assert check_main([path, "--strict"]) == 2
    assert {line.split(",")[0] for line in capsys.readouterr().err.splitlines()[1:]} == {
        "  --strict: duplicate", "  --strict: patient_leak",
    }  # fmt: skip
    assert check_main([path, "--strict", "--resplit"]) == 2  # copies stay copies
    out, err = capsys.readouterr()
    assert re.search(r"note: Anew: \d+ images.* are to be cut", out)
    assert "patient_leak" not in err
