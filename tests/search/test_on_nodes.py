"""A search on a real cluster: a head, three nodes, one of which is lost and another one comes."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nodes_of_ray import ROOT, Cluster, cluster

from search.study import read_rows

pytestmark = pytest.mark.slow
TRIALS, EPOCHS = 10, 4


@pytest.fixture(scope="module")
def there() -> Iterator[Cluster]:
    """Who speaks with it needs a token; the head trains nothing; one node has another resource."""
    with cluster(token="0123456789abcdef" * 4) as made:
        made.start("head", cpus=0)
        made.start("a")
        made.start("b", "--resources", json.dumps({"accelerator_type:T4": 1}))
        made.start("c")
        yield made


def submit(there: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "search.submit", "--address", there.http, *words]
    return subprocess.run(
        command, cwd=ROOT, env=there.environment(), capture_output=True, text=True, check=False
    )


def wait_for(what: Callable[[], bool], limit_s: float = 400) -> None:
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.5)


def told(run: Path) -> int:
    file = run / "trials.csv"
    if not file.exists():
        return 0
    with file.open() as text:
        return sum(row["state"] not in ("waiting", "running") for row in csv.DictReader(text))


def test_a_node_is_lost_another_one_comes_and_the_record_is_complete(there: Cluster) -> None:
    runs = there.folder / "runs"
    sent = submit(
        there, "spaces/digits.py", "--out", str(runs), "--name", "digits", "--trials", str(TRIALS),
        "--epochs", str(EPOCHS), "--minutes", "60", "--refits", "0", "--probe-seconds", "300",
    )  # fmt: skip
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "4 nodes, 3 cores" in sent.stdout
    identity = sent.stdout.split("--logs ")[1].split()[0]

    log = there.folder / "followed"
    command = [sys.executable, "-m", "search.submit", "--address", there.http, "--logs", identity]
    with log.open("wb") as file:
        follower = subprocess.Popen(
            command, cwd=ROOT, env=there.environment(), stdout=file, stderr=file
        )
    wait_for(lambda: told(runs / "digits") >= 2)
    there.kill("b")
    there.start("d")
    assert follower.wait(600) == 0, log.read_text()

    followed = log.read_text()
    assert "room for 3 trials of 1 core side by side" in followed
    assert "SUCCEEDED" in followed
    rows = read_rows(runs / "digits" / "study.db", name="digits")
    assert [row.number for row in rows] == list(range(TRIALS))
    assert {row.state for row in rows} <= {"complete", "pruned"}
    for row in rows:  # every epoch once, from the first on, wherever it was trained
        assert list(row.scores) == list(range(1, len(row.scores) + 1))
    result = json.loads((runs / "digits" / "result.json").read_text())
    assert not result["interrupted"]
    assert sum(result["trials"].values()) == TRIALS
    assert "SUCCEEDED" in submit(there, "--status", identity).stdout


def test_each_node_that_trained_has_the_images_in_its_own_store(there: Cluster) -> None:
    for name in ("head", "a", "c"):
        keys = [path for path in (there.folder / name / "cache").iterdir() if path.name != "locks"]
        assert len(keys) == 1, name
        assert any(path.suffix == ".raw" for path in keys[0].iterdir())


@pytest.mark.skipif("XFER_DATA" not in os.environ, reason="needs XFER_DATA and TORCH_HOME")
def test_nodes_get_weights_from_the_driver_and_make_what_is_frozen_themselves(
    there: Cluster,
) -> None:
    runs = there.folder / "runs"
    command = [
        sys.executable, "-m", "search.run", "spaces/any.py", "--address", there.address,
        "--data", str(Path(os.environ["XFER_DATA"]) / "cats_dogs"), "--positive", "cats",
        "--image-size", "64", "--backbones", "squeezenet1_1", "--trials", "4", "--epochs", "2",
        "--refits", "0", "--minutes", "60", "--out", str(runs), "--name", "frozen", "--offline",
    ]  # fmt: skip
    ran = subprocess.run(
        command, cwd=ROOT, env=there.environment("head"), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads((runs / "frozen" / "result.json").read_text())
    assert result["trials"]["complete"] + result["trials"]["pruned"] == 4
    assert result["counters"]["prefix_forwards"] > 0
    nodes = [name for name in there.nodes if name != "head"]
    with_weights = [n for n in nodes if list((there.folder / n / "torch").rglob("*.pth"))]
    assert with_weights
    for name in with_weights:  # decoded images, and what frozen blocks made of them
        keys = [path for path in (there.folder / name / "cache").iterdir() if path.name != "locks"]
        assert len(keys) >= 2


def test_somebody_without_the_token_is_refused_with_the_way_in(there: Cluster) -> None:
    there_too = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    for env, says in (
        (there_too, "the cluster wants a token: set RAY_AUTH_MODE=token"),
        (there_too | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}, "refuses the token"),
    ):
        command = [sys.executable, "-m", "search.submit", "--address", there.http, "--list"]
        refused = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert refused.returncode == 2
        assert says in refused.stderr
