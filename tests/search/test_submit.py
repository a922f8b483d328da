"""A job is planned as a value, held against its space and its cluster, and only then sent."""

import json
import os
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from job_server import Client, answering, answers, job, node

from search.cluster import ROOT, plan_job, words_of
from search.core_hours import Here, cost_lines
from search.errors import ClusterError
from search.forecast import Forecast
from search.job_data import Found, find, wanted
from search.jobs import address_problem, check_installed, connect, exit_code, follow
from search.options import parse
from search.passwords import hidden
from search.preflight import requirements
from search.probe import ProbedNode
from search.probe_script import hub_folder, look, reach, run_data, run_state, weights_at_hand
from search.readiness import make_ready
from search.submit import main, submit
from search.uploads import MOST_BYTES, gather
from xfer.recipe import Table

NOW = datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)
HTTP = "http://head:8265"
DIGITS = str(ROOT / "spaces/digits.py")


def asked(*words: str, space: str = DIGITS) -> Any:
    return parse([space, "--address", HTTP, *words])


def planned(*words: str, found: Found = Found(), space: str = DIGITS) -> Any:  # noqa: B008
    return plan_job(asked(*words, space=space), found=found, stamp=NOW)


# --------------------------------------------------------------------------------------------------
# The plan


def test_a_job_runs_the_search_on_its_own_cluster_under_a_name_that_is_decided_here() -> None:
    plan = planned("--out", "/mnt/runs")
    assert plan.entrypoint == (
        "python -m search.run spaces/digits.py --address auto --name digits-20261123-010203 "
        "--out /mnt/runs"
    )
    assert plan.submission_id == plan.name == "digits-20261123-010203"
    assert plan.results == "/mnt/runs/digits-20261123-010203"
    assert plan.environment["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"


def test_a_named_run_gets_a_job_of_another_name_each_time() -> None:
    plan = planned("--out", "/r", "--name", "eights & more", "--resume")
    assert plan.submission_id == "eights-more-20261123-010203"
    assert "--name 'eights & more' --out /r" in plan.entrypoint
    assert " --resume " in plan.entrypoint


def test_what_goes_on_with_a_run_is_said_as_it_would_be_typed() -> None:
    plan = planned("--out", "/r", "--trials", "9", space="spaces/digits.py")
    assert plan.metadata["resume"] == (
        f"python -m search.submit spaces/digits.py --address {HTTP} --name "
        "digits-20261123-010203 --out /r --resume"
    )
    found = Found(flag="data/x", parts=((ROOT / "docs", "data/x"),))
    again = planned("--out", "/r", "--data", "photos/x", found=found).metadata["resume"]
    assert " --data photos/x " in again  # the next upload needs them, too


FLAGS: list[list[str]] = [
    ["--trials", "8", "--minutes", "2.5", "--folds", "5", "--strict", "--weights", "none"],
    ["--known", "a, b", "--known", "c", "--backbones", "resnet18,vgg11", "--offline"],
    ["--positive=-1", "--cache-gb", "3", "--storage", "postgresql://u:p@h/d", "--workers", "2"],
    ["--image-size", "64", "--gpus-per-trial", "0.5", "--keep-splits", "--keep", "2"],
]


@pytest.mark.parametrize("words", FLAGS)
def test_flags_reach_the_run_as_they_were_given(words: list[str]) -> None:
    options = asked(*words)
    assert parse(
        [DIGITS, "--address", HTTP, *words_of(options, leave=frozenset(("address",)))]
    ) == (options)
    entrypoint = shlex.split(planned("--out", "/r", *words).entrypoint)
    theirs = parse(entrypoint[3:])
    assert theirs.given == options.given | {"name", "out"}
    assert {n: getattr(theirs, n) for n in options.given - {"address"}} == {
        n: getattr(options, n) for n in options.given - {"address"}
    }


def test_a_password_is_not_printed() -> None:
    text = "\n".join(planned("--out", "/r", "--storage", "postgresql://me:secret@db/x").lines())
    assert "secret" not in text
    assert "postgresql://me:***@db/x" in text
    assert hidden("cannot reach mysql://a:b@c, d@e") == "cannot reach mysql://a:***@c, d@e"


# --------------------------------------------------------------------------------------------------
# What is uploaded


def test_only_the_code_and_one_space_are_uploaded(tmp_path: Path) -> None:
    space = tmp_path / "elsewhere.py"
    space.write_text((ROOT / "spaces/digits.py").read_text())
    places = {file.place for file in gather(space, root=ROOT).files}
    assert {"search/run.py", "xfer/train.py", "pyproject.toml", "spaces/elsewhere.py"} <= places
    assert {place.split("/")[0] for place in places} == {
        "search", "xfer", "spaces", "pyproject.toml"
    }  # fmt: skip
    assert not [p for p in places if "__pycache__" in p or p.endswith(".pyc") or "/." in p]
    assert [p for p in places if p.startswith("spaces/")] == ["spaces/elsewhere.py"]


def test_what_is_uploaded_runs_the_command(tmp_path: Path) -> None:
    with gather(Path(DIGITS), root=ROOT).folder() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "search.run", "spaces/digits.py", "--trials", "0"],
            cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 2
    assert "--trials must be a whole number of at least 1, got '0'" in done.stderr
    assert not folder.exists()


def test_an_upload_over_rays_limit_names_what_is_largest_in_it(tmp_path: Path) -> None:
    for name, count in (("search/a.py", 10), ("xfer/model.bin", MOST_BYTES), ("pyproject.toml", 5)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(count)  # no disk is filled
    images = tmp_path / "photos/ill"
    images.mkdir(parents=True)
    for number in range(3):
        (images / f"{number}.png").write_bytes(bytes(9_000))
    space = tmp_path / "s.py"
    space.write_text("")
    upload = gather(space, root=tmp_path, data=[(tmp_path / "photos", "data/photos")])
    problem = upload.problem()
    assert problem is not None
    assert problem.endswith(
        "Ray takes at most 105 MB; the largest of it: xfer/model.bin 105 MB, data/photos/ 27 kB, "
        "search/a.py 10 B, pyproject.toml 5 B, spaces/s.py 0 B"
    )
    (tmp_path / "xfer/model.bin").unlink()
    assert gather(space, root=tmp_path).problem() is None


def test_rays_limit_is_still_what_it_was() -> None:
    from ray._private import ray_constants

    assert ray_constants.DASHBOARD_CLIENT_MAX_SIZE == MOST_BYTES


# --------------------------------------------------------------------------------------------------
# Images


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images in the current one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in/photos"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(bytes(100))
    return folder


def test_images_that_the_cluster_sees_are_used_there(photos: Path) -> None:
    for path, flag in ((f"{photos}", None), ("in/photos", f"{photos}")):
        found = find(wanted(path, None), {f"{photos}": True}, demo=False)
        assert found == Found(flag=flag)
    assert find(wanted("x", f"{photos}"), {f"{photos}": True}, demo=False).flag == f"{photos}"
    assert wanted("~/photos", None).there == ("~/photos",)  # the cluster's own home
    assert find(wanted("builtin:digits", None), {}, demo=False) == Found()
    assert find(wanted("x", "builtin:digits"), {}, demo=False) == Found(flag="builtin:digits")


def test_small_images_that_it_does_not_see_are_uploaded_and_it_is_said(photos: Path) -> None:
    found = find(wanted("in/photos", None), {}, demo=True)
    assert (found.flag, found.parts) == ("data/photos", ((photos, "data/photos"),))
    assert found.notes == (
        f"{photos} is uploaded with the job: the driver's node of the cluster does not see the "
        f"images at {photos}. It becomes --data data/photos.",
    )


def test_images_too_large_to_be_uploaded_are_a_problem(photos: Path) -> None:
    with (photos / "b.png").open("wb") as file:
        file.truncate(MOST_BYTES)
    (problem,) = find(wanted("in/photos", None), {}, demo=False).problems
    assert f"does not see the images at {photos}, and {photos} is too large to be upl" in problem


def test_images_that_are_nowhere_are_a_problem_or_a_demo(photos: Path) -> None:
    (problem,) = find(wanted("/no/such", None), {}, demo=False).problems
    assert problem == (
        "the driver's node of the cluster does not see the images at /no/such, and they are not "
        "here either; give a path that it sees with --data"
    )
    demo = find(wanted("/no/such", None), {}, demo=True)
    assert demo.demo
    assert demo.notes[0].endswith("they are not here: the job will be a DEMO.")


TABLES: list[tuple[tuple[str, str | None], list[str], str | None, list[str], str]] = [
    # file and root, what the cluster sees, --data, places of what is uploaded, problem
    (("in/t.csv", None), [], "data/in/t.csv", ["data/in"], ""),
    (("in/t.csv", None), ["IN/t.csv"], "IN/t.csv", [], ""),
    (("in/t.csv", "in/photos"), ["IN/t.csv"], "data/t.csv", ["in/photos", "data/t.csv"], ""),
    (("/x/t.csv", "/x/p"), ["/x/t.csv", "/x/p"], None, [], ""),
    (("/x/t.csv", "/x/p"), ["/x/t.csv"], None, [], "at /x/p, and they cannot be uploaded either"),
    (("in/t.csv", "../p"), ["IN/t.csv"], None, [], "Table.root is '../p', and relative to the"),
]


@pytest.mark.parametrize("row", TABLES)
def test_a_table_goes_with_its_images(photos: Path, row: Any) -> None:
    (file, root), seen, flag, places, problem = row
    folder = str(photos.parent)
    (photos.parent / "t.csv").write_text("path,label\n")
    table = Table(file, path="path", label="label", root=root)
    there = {name.replace("IN", folder): True for name in seen}
    found = find(wanted(table, None), there, demo=False)
    assert found.flag == (None if flag is None else flag.replace("IN", folder))
    assert [place for _, place in found.parts] == places
    assert problem in "".join(found.problems)
    assert bool(found.problems) == bool(problem)


# --------------------------------------------------------------------------------------------------
# Addresses, and what answers there


@pytest.mark.parametrize(
    "address", ["head:6379", "ray://head:10001", "auto", "http://", "http://h:99999", "http://h/x"]
)
def test_what_is_no_dashboards_address_is_told_at_once(address: str) -> None:
    problem = address_problem(address)
    assert problem is not None
    assert problem.startswith("--address must be the HTTP address of the cluster's dashboard")
    assert problem.endswith(f"got {address}")


def test_a_port_where_nobody_listens_is_told_with_the_way_through_a_tunnel() -> None:
    with pytest.raises(ClusterError, match=r"nobody answers there \(.*refused\).*ssh -L 8265"):
        connect("http://127.0.0.1:9")


def test_who_takes_a_connection_and_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match=r"nobody answers there.*timed out"):
            connect(address, answer_s=0.2)


@pytest.mark.parametrize("answer", [(404, ""), (200, "[]")])
def test_another_server_is_no_dashboard(answer: tuple[int, str]) -> None:
    with answering(*answer) as address, pytest.raises(ClusterError, match="is no Ray dashboard"):
        connect(address)


def test_a_cluster_that_wants_a_token_is_told_with_the_variables_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # Ray sets it when it starts one of its own
    said = "Unauthorized: Missing authentication token"
    with answering(401, said) as address, pytest.raises(ClusterError) as told:
        connect(address)
    assert str(told.value) == (
        f"--address {address}: the cluster wants a token: set RAY_AUTH_MODE=token, and "
        "RAY_AUTH_TOKEN to the cluster's token or RAY_AUTH_TOKEN_PATH to a file that holds it "
        "(RAY_AUTH_MODE is unset)."
    )


def test_rays_variables_do_not_go_before_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    version = json.dumps({"ray_version": metadata.version("ray"), "version": "4"})
    with answering(200, version) as address:
        assert connect(f"{address}/").get_address() == address
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:9"


def test_the_missing_extra_is_one_sentence_with_the_line_that_installs_it() -> None:
    with pytest.raises(ClusterError) as told:
        check_installed(lambda name: None if name == "aiohttp" else name)
    assert str(told.value) == (
        "submitting jobs needs the extra `cluster`, of which aiohttp is not installed: run "
        '`uv sync --extra cluster` or `pip install "ray[default]"`.'
    )


def test_reading_a_command_line_does_not_need_the_extra() -> None:
    script = (
        "import sys; sys.modules |= dict.fromkeys(('aiohttp', 'requests', 'pydantic'))\n"
        "from search.submit import main\n"
        "print(main(['spaces/digits.py', '--trials', 'x']))\n"
        f"print(main(['spaces/digits.py', '--address', '{HTTP}', '--out', '/r']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["2", "2"]
    assert "--trials must be a whole number" in done.stderr
    assert "aiohttp, pydantic, requests is not installed" in done.stderr
    assert "Traceback" not in done.stderr


# --------------------------------------------------------------------------------------------------
# Ready or not


def ready(client: Client, *words: str, space: str = DIGITS, probe_s: float = 5.0) -> Any:
    return make_ready(
        asked(*words, space=space),
        probe_s=probe_s,
        connect=lambda _: client,  # type: ignore[arg-type]
    )


def test_a_job_without_problems_is_sent_whole(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(answers())
    options = asked("--out", "/mnt/runs", "--trials", "3", "--name", "eights")
    code = submit(options, connect=lambda _: client)  # type: ignore[arg-type,return-value]
    (sent,) = client.submitted
    assert code == 0
    assert sent["entrypoint"].startswith("python -m search.run spaces/digits.py --trials 3 --addr")
    assert sent["files"]["spaces/digits.py"] == Path(DIGITS).read_bytes()
    assert sent["metadata"]["results"] == "/mnt/runs/eights"
    assert f"--address {HTTP} --logs {sent['submission_id']}" in capsys.readouterr().out
    assert client.removed == [client.sent[0]["submission_id"]]  # the probe's
    assert client.asked["out"] == "/mnt/runs"


def test_a_dry_run_says_what_it_would_cost_and_sends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = Client(answers())
    options = asked("--out", "/r", "--trials", "1", "--epochs", "1", "--refits", "0", "--dry-run")
    assert submit(options, connect=lambda _: client) == 0  # type: ignore[arg-type,return-value]
    said = capsys.readouterr().out
    assert client.submitted == []
    assert "cluster: 1 node, 4 cores, 0 GPUs" in said
    assert "cost: about 0." in said
    assert "core hours" in said
    assert said.endswith("Nothing was uploaded or submitted.\n")


def test_all_that_the_cluster_lacks_is_told_at_once() -> None:
    packages = dict.fromkeys(("torch", "optuna"))
    first = node()
    lacking = node("b (10.0.0.2)", packages=first["packages"] | packages, out="cannot write to /r")
    old = node("c (10.0.0.3)", packages=first["packages"] | {"numpy": "1.26.0"})
    dead = node("d (10.0.0.4)", packages={}, failed="GetTimeoutError: Get timed out")
    client = Client(
        answers(python="3.9.1", ray="2.50.0", nodes=[first, lacking, old, dead],
                storage="OperationalError: no postgresql://me:secret@db"),
        jobs=(job("other", "RUNNING", run="n", results="/r/n"),
              job("done", "SUCCEEDED", run="n", results="/r/n")),
    )  # fmt: skip
    words = ["--out", "/r", "--name", "n", "--storage", "postgresql://me:secret@db/x"]
    with pytest.raises(ClusterError) as told:
        ready(client, *words, "--gpus-per-trial", "0.5")
    said = str(told.value)
    for part in (
        f"Ray is {metadata.version('ray')} here and 2.50.0 on the cluster: install the same",
        "here and 3.9.1 on the cluster (/usr/bin/python): submit from an environment with Python 3",
        "node b (10.0.0.2): torch is not installed",
        "node b (10.0.0.2): optuna is not installed",
        "node c (10.0.0.3): numpy is 1.26.0, needed is >=2.1",
        "node d (10.0.0.4) did not answer: GetTimeoutError",
        "--out /r: node b (10.0.0.2) cannot write to /r; it must be a folder that all nodes share",
        "--storage postgresql://me:***@db/x cannot be reached from the driver's node: Operational",
        "--gpus-per-trial 0.5 needs a node with as many GPUs, and here the most is 0",
        "job other is still RUNNING and writes to /r/n; end it with --stop other",
    ):
        assert part in said
    assert said.startswith("11 problems:")
    assert "secret" not in said
    assert client.asked["storage"] is None  # the probe's command is shown by Ray, too
    assert client.submitted == []


def test_what_is_wrong_here_and_what_is_wrong_there_are_told_together(tmp_path: Path) -> None:
    space = tmp_path / "wrong.py"
    text = Path(DIGITS).read_text()
    space.write_text(text.replace('"kernels", [8, 16, 32]', '"kernels", []'))
    client = Client(answers(out="cannot write to /r (Permission denied)"))
    with pytest.raises(ClusterError) as told:
        ready(client, "--out", "/r", "--resplit", space=str(space))
    said = str(told.value)
    assert "kernels" in said
    assert "--out: the driver's node cannot write to /r (Permission denied)" in said


def test_a_space_that_cannot_be_loaded_hides_nothing_of_the_cluster() -> None:
    client = Client(answers(out="cannot write to /r (Permission denied)"))
    with pytest.raises(ClusterError) as told:
        ready(client, "--out", "/r", space="no/such.py")
    assert str(told.value) == (
        "2 problems:\n  no space file no/such.py\n"
        "  --out: the driver's node cannot write to /r (Permission denied)"
    )


OURS: list[tuple[list[str], str]] = [
    ([], "--out is missing: give a folder that all nodes see, such as --out /mnt/shared/runs"),
    (["--out", "runs"], "--out runs is relative, and would lie in the job's copy of the code"),
    (["--out", "s3://b/runs"], "--out must be a folder, got s3://b/runs"),
    (["--out", "/r", "--resume"], "--resume needs --name: the run to go on with"),
    (["--out", "/r", "--storage", "postgresql://me:secret@db/x"], "has a password in it, and Ray"),
    (["--out", "/r", "--storage", "sqlite:///study.db"], "--storage sqlite:///study.db is relati"),
]


@pytest.mark.parametrize(("words", "says"), OURS)
def test_flags_that_mean_something_else_on_a_cluster_are_told(words: list[str], says: str) -> None:
    client = Client(answers(run="begun"))
    with pytest.raises(ClusterError) as told:
        ready(client, *words, "--positive", "3")
    assert says in str(told.value)


RUNS: list[tuple[str, bool, str]] = [
    ("begun", False, "run 'n' exists in /r on the cluster: add --resume to go on with it, or"),
    ("other", False, "run 'n' exists in /r on the cluster: choose another --name"),
    ("absent", True, "run 'n' was not begun in /r on the cluster: there is nothing to resume"),
    ("begun", True, ""),
]


@pytest.mark.parametrize(("state", "resume", "says"), RUNS)
def test_a_run_is_begun_once_and_resumed_where_it_is(state: str, resume: bool, says: str) -> None:
    words = ["--out", "/r", "--name", "n", *(["--resume"] if resume else [])]
    client = Client(answers(run=state))
    if not says:
        assert ready(client, *words).job.entrypoint.endswith("--name n --out /r")
        return
    with pytest.raises(ClusterError) as told:
        ready(client, *words)
    assert says in str(told.value)


def test_a_resumed_run_keeps_images_that_are_still_where_they_were(photos: Path) -> None:
    space = photos.parent / "photos.py"
    space.write_text(Path(DIGITS).read_text().replace("builtin:digits", "in/photos"))
    words = ["--out", "/r", "--name", "n", "--resume"]
    kept = ready(Client(answers(run="begun", run_data="/x")), *words, space=str(space))
    assert "--data" not in kept.job.entrypoint
    gone = ready(Client(answers(run="begun")), *words, space=str(space))
    assert "--data data/photos" in gone.job.entrypoint
    assert "data/photos/a.png" in {file.place for file in gone.job.upload.files}


def test_images_on_the_cluster_alone_leave_the_space_to_be_checked(tmp_path: Path) -> None:
    space = tmp_path / "far.py"
    space.write_text(Path(DIGITS).read_text().replace("builtin:digits", "/far/photos"))
    found = ready(Client(answers(paths={"/far/photos": True})), "--out", "/r", space=str(space))
    assert found.looked.inspection is None
    assert found.looked.problems == ()
    assert "--data" not in found.job.entrypoint


WEIGHTS = """
from search.space import Budget
from xfer.recipe import Images, Objective, Pretrained, Recipe

DATA = Images("builtin:digits", positive="8", size=32, channels=3)
OBJECTIVE, BUDGET = Objective("auroc"), Budget(trials=1, epochs=1)

def space(trial):
    name = trial.suggest_categorical("model", ["resnet18", "resnet34"])
    return Recipe(model=Pretrained(name), lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True))
"""


def test_weights_are_looked_for_on_the_cluster_and_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    space = tmp_path / "two.py"
    space.write_text(WEIGHTS)
    files = ["resnet18-f37072fd.pth", "resnet34-b627a593.pth"]
    there = dict.fromkeys(files, True)
    client = Client(answers(weights=there))
    assert ready(client, "--out", "/r", "--offline", space=str(space)).notes == ()
    assert client.asked["weights"] == files
    one = Client(answers(weights=there | {files[1]: False}))
    with pytest.raises(
        ClusterError, match=f"no weights of resnet34 on the .*: put {files[1]} into"
    ):
        ready(one, "--out", "/r", "--offline", space=str(space))
    (note,) = ready(one, "--out", "/r", space=str(space)).notes
    assert note.startswith("The driver's node has no weights of resnet34 yet; it will fetch them")


def test_a_probe_without_an_answer_says_what_that_means() -> None:
    with pytest.raises(ClusterError) as told:
        ready(Client(None), "--out", "/r", "--resume", "--name", "n", probe_s=0.1)
    assert "gave no answer within 0 s; it is PENDING, so no node has started its driver" in str(
        told.value
    )


def test_a_cluster_whose_python_is_not_rays_is_told() -> None:
    client = Client("Traceback ...\nModuleNotFoundError: No module named 'ray'\n")
    with pytest.raises(ClusterError) as told:
        ready(client, "--out", "/r", "--resume", "--name", "n")
    assert "could not run: ModuleNotFoundError: No module named 'ray'. It is started as `p" in str(
        told.value
    )


# --------------------------------------------------------------------------------------------------
# What the probe sees


def test_the_probe_looks_at_folders_runs_and_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "n"
    assert run_state(str(tmp_path), "n") == "absent"
    run.mkdir()
    assert run_state(str(tmp_path), "n") == "other"
    options = {"data": str(tmp_path)}
    (run / "manifest.json").write_text(json.dumps({"plan": {"options": options}}))
    assert run_state(str(tmp_path), "n") == "begun"
    assert run_data(str(tmp_path), "n") == str(tmp_path)
    options["data"] = str(tmp_path / "gone")
    (run / "manifest.json").write_text(json.dumps({"plan": {"options": options}}))
    assert run_data(str(tmp_path), "n") is None
    assert reach(f"sqlite:///{tmp_path}/study.db") == ""
    assert reach("sqlite:////no/such/study.db") == "/no/such cannot be written"
    assert not (tmp_path / "study.db").exists()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub/checkpoints"
    kept.mkdir(parents=True)
    (kept / "a.pth").touch()
    assert weights_at_hand(["a.pth", "b.pth"]) == {"a.pth": True, "b.pth": False}


def test_torch_keeps_weights_where_the_probe_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv("TORCH_HOME", raising=False)
    for name, value in (("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("TORCH_HOME", "~/t")):
        monkeypatch.setenv(name, value)
        assert hub_folder() == torch.hub.get_dir()


def test_a_node_says_what_it_has_and_whether_it_shares_the_folder(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    marker = tmp_path / "marker"
    marker.touch()
    found = look(["numpy", "no-such-package"], str(marker))
    assert found["packages"] == {"numpy": metadata.version("numpy"), "no-such-package": None}
    assert found["out"] == ""
    assert [path.name for path in tmp_path.iterdir()] == ["marker"]
    assert 0 < found["seconds"] < 60
    assert torch.get_num_threads() == before
    alone = look([], str(tmp_path / "elsewhere/marker"), seen_s=0)
    assert alone["out"] == f"does not see what the driver's node wrote to {tmp_path}/elsewhere"


# --------------------------------------------------------------------------------------------------
# Costs, logs, and how a job ended


def ahead(seconds: float) -> Here:
    forecast = Forecast(
        trials=1, epochs=1, folds=1, images=1, workers=2, seconds=seconds, low=seconds / 2,
        high=2 * seconds, again=0, again_folds=1, again_seconds=0, limit=None, memory=0,
        memory_free=None, disks=(),
    )  # fmt: skip
    return Here(forecast=forecast, threads=3, step=0.2)


def nodes(*each: dict[str, Any]) -> list[ProbedNode]:
    return [ProbedNode(**node(**one)) for one in each]


def test_cost_is_the_forecast_here_at_the_speed_there() -> None:
    first, second = cost_lines(ahead(7200), nodes({}, {"seconds": 0.3}), minutes=30)
    # 2 hours on 2 workers of 3 cores; a step takes .2 there in the median, and .2 here
    assert first.startswith("cost: about 12 core hours (6 to 24): a forecast for this machine (abo")
    assert "(about 2 h 0 min on 6 cores)" in first
    assert second.startswith("The search ends after 30 minutes in any case: at most 4 core hours o")
    assert "all 8 cores" in second


def test_cost_is_told_in_gpu_hours_where_there_are_gpus() -> None:
    said = cost_lines(ahead(7200), nodes({}, {"gpus": 2.0, "gpu_seconds": 0.002}), minutes=None)
    assert said[0].startswith("cost: about 0.12 GPU hours (0.06 to 0.24)")
    assert said[1].startswith("That is rough")
    assert len(said) == 2
    assert cost_lines(ahead(1), nodes({"gpus": 1.0}), minutes=None) == [
        "cost: not known, because no GPU of the cluster was free to time a training step"
    ]
    assert cost_lines(ahead(1), nodes({"seconds": None}), minutes=None) == [
        "cost: not known, because no node could time a training step"
    ]


class Logs(Client):
    """A job whose connection breaks in the middle of its logs."""

    def __init__(self) -> None:
        super().__init__()
        self.states = iter(["RUNNING", "RUNNING", "FAILED"])
        self.tails = iter([["one\n", "tw", RuntimeError()], ["one\ntwo\n"], ["one\ntwo\nthree\n"]])

    def get_job_info(self, identity: str) -> Any:
        return SimpleNamespace(status=next(self.states), driver_exit_code=1)

    def get_job_logs(self, identity: str) -> str:
        return "one\ntwo\n"

    async def tail_job_logs(self, identity: str) -> Any:
        for text in next(self.tails):
            if isinstance(text, Exception):
                raise text
            yield text


def test_logs_are_followed_to_the_end_and_nothing_is_written_twice() -> None:
    written: list[str] = []
    ended = follow(Logs(), "j", written.append)  # type: ignore[arg-type]
    assert "".join(written) == "one\ntwo\nthree\n"
    assert exit_code(ended) == 1


ENDS: list[tuple[str, int | None, int]] = [
    ("SUCCEEDED", 0, 0), ("STOPPED", None, 130), ("FAILED", 2, 2), ("FAILED", None, 1),
]  # fmt: skip


@pytest.mark.parametrize(("status", "driver", "code"), ENDS)
def test_the_exit_code_tells_how_a_job_ended(status: str, driver: int | None, code: int) -> None:
    assert exit_code(SimpleNamespace(status=status, driver_exit_code=driver)) == code  # type: ignore[arg-type]


def test_asking_for_a_job_takes_the_address_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", DIGITS, "--trials", "3", "--stop", "x"]) == 2
    said = capsys.readouterr().err
    assert "--list goes with --address alone; leave out SPACE, --trials, --stop" in said
    assert "--address is missing" in said
    assert main(["--lists", "--address", HTTP]) == 2
    assert "--lists is not a flag; did you mean '--list'?" in capsys.readouterr().err


def test_what_a_search_needs_is_read_from_the_project() -> None:
    names = {one.name for one in requirements()}
    assert {"torch", "torchvision", "optuna", "ray"} <= names
