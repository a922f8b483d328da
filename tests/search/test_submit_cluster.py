"""A real head with a token: searches are sent to it, followed, stopped, and go on."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ROOT
from nodes_of_ray import Cluster, cluster

pytestmark = pytest.mark.slow
TOLD = re.compile(r"^trial (\d+) (?:complete|pruned)", re.MULTILINE)
SMALL = ["spaces/digits.py", "--epochs", "2", "--refits", "0"]


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    with cluster(token="0123456789abcdef" * 4) as made:
        made.start("head", cpus=2)
        yield made


def submit(head: Cluster, *words: str, code: int = 0, token: str | None = None) -> str:
    """What the command prints; it must end with that code, and never with a traceback."""
    changed = {} if token is None else {"RAY_AUTH_TOKEN": token}
    done = subprocess.run(
        [sys.executable, "-m", "search.submit", *words, "--address", head.http],
        cwd=ROOT, env=head.environment() | changed, capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said, said
    return said


def identity(said: str) -> str:
    """Of the job that was submitted."""
    return said.split("job: ", maxsplit=1)[1].split("\n", maxsplit=1)[0]


def wait_for(head: Cluster, job: str, text: str) -> None:
    """Until a job has printed that."""
    from ray.job_submission import JobSubmissionClient

    headers = {"Authorization": f"Bearer {head.token}"}
    client = JobSubmissionClient(head.http, headers=headers)
    until = time.monotonic() + 300
    while text not in client.get_job_logs(job):
        assert time.monotonic() < until, client.get_job_logs(job)
        time.sleep(0.5)


def test_a_search_runs_as_a_job_and_is_followed_to_its_end(head: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "shared/runs"
    where = ["--out", str(out), "--name", "eights", "--trials", "3"]
    dry = submit(head, *SMALL, *where, "--dry-run")
    assert "cost: about 0." in dry
    assert "Nothing was uploaded or submitted." in dry
    assert not out.parent.exists()  # the look at the cluster leaves nothing behind
    assert submit(head, "--list") == ""
    job = identity(submit(head, *SMALL, *where))
    said = submit(head, "--logs", job)
    assert "trial 0 begins: two convolutions" in said
    assert said.splitlines()[-1] == f"{job}  SUCCEEDED  {out}/eights"
    result = json.loads((out / "eights/result.json").read_text())
    assert result["trials"]["complete"] + result["trials"]["pruned"] == 3
    assert submit(head, "--status", job) == f"{job}  SUCCEEDED  {out}/eights\n"
    assert submit(head, "--list") == f"{job}  SUCCEEDED  {out}/eights\n"
    taken = submit(head, *SMALL, *where, code=2)
    assert f"run 'eights' exists in {out} on the cluster: add --resume to go on with it" in taken


def test_a_wrong_token_is_refused_before_anything_is_sent(head: Cluster, tmp_path: Path) -> None:
    said = submit(head, *SMALL, "--out", str(tmp_path), code=2, token="0" * 32)
    assert said.startswith(f"--address {head.http}: the cluster refuses the token of RAY_AUTH_T")


def test_what_the_cluster_cannot_do_is_told_before_anything_is_sent(head: Cluster) -> None:
    said = submit(
        head, *SMALL, "--out", "/proc/runs", "--storage", "postgresql://u@127.0.0.1:9/d",
        "--image-size", "8", "--data", "/no/such/images", code=2,
    )  # fmt: skip
    assert "--out: the driver's node cannot write to /proc/runs" in said
    assert "--storage postgresql://u@127.0.0.1:9/d cannot be reached from the driver's" in said
    assert "does not see the images at /no/such/images, and they are not here either" in said


def test_a_stopped_job_goes_on_by_the_command_that_is_said(head: Cluster, tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--trials", "900", "--minutes", "20"]
    job = identity(submit(head, *SMALL, *words))
    wait_for(head, job, "trial 0 complete")
    twice = ["--out", str(tmp_path), "--name", job, "--resume"]
    assert f"job {job} is still RUNNING and writes to" in submit(head, *SMALL, *twice, code=2)
    said = submit(head, "--stop", job)
    assert said.startswith(f"{job} has ended: STOPPED\nTo go on with it:\n")
    logs = submit(head, "--logs", job, code=130)
    assert "Interrupted; nothing is lost." in logs  # it was asked, and not killed
    told = TOLD.findall(logs)
    module, *command = shlex.split(said.splitlines()[-1])[2:-1]
    assert module == "search.submit"
    address = command.index("--address")
    del command[address : address + 2]
    more = len(told) + 3
    again = identity(submit(head, *command, "--resume", "--trials", str(more)))
    assert again != job
    said = submit(head, "--logs", again)
    assert "SUCCEEDED" in said.splitlines()[-1]
    result = json.loads((tmp_path / job / "result.json").read_text())
    counts = result["trials"]
    assert sum(counts.values()) == more
    assert not set(told) & set(TOLD.findall(said))  # nothing is trained twice
    assert len(TOLD.findall(said)) == 3
