"""Who gets which share of the machine, and what a worker finds when it starts."""

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from search.errors import OptionsError
from search.starting import check_address, start_ray
from search.workers import Slots, count_cpus, environment, plan

ROOT = Path(__file__).parents[2]

SHARES: list[tuple[dict[str, Any], tuple[int, int, float, str]]] = [
    ({"cpus": 2, "gpus": 0}, (2, 1, 0.0, "cpu")),
    ({"cpus": 1, "gpus": 0}, (1, 1, 0.0, "cpu")),
    ({"cpus": 16, "gpus": 0}, (4, 4, 0.0, "cpu")),
    ({"cpus": 7, "gpus": 0}, (4, 1, 0.0, "cpu")),
    ({"cpus": 16, "gpus": 0, "workers": 1}, (1, 16, 0.0, "cpu")),
    ({"cpus": 16, "gpus": 0, "workers": 16}, (16, 1, 0.0, "cpu")),
    ({"cpus": 16, "gpus": 1}, (1, 16, 1.0, "cuda")),
    ({"cpus": 16, "gpus": 2}, (2, 8, 1.0, "cuda")),
    ({"cpus": 16, "gpus": 2, "workers": 1}, (1, 16, 1.0, "cuda")),
    ({"cpus": 16, "gpus": 1, "gpus_per_trial": 0.25}, (4, 4, 0.25, "cuda")),
    ({"cpus": 16, "gpus": 1, "gpus_per_trial": 0.1}, (10, 1, 0.1, "cuda")),
    ({"cpus": 16, "gpus": 3, "gpus_per_trial": 0.4}, (6, 2, 0.4, "cuda")),
    ({"cpus": 16, "gpus": 5, "gpus_per_trial": 2}, (2, 8, 2.0, "cuda")),
    ({"cpus": 2, "gpus": 1, "gpus_per_trial": 0.25}, (4, 1, 0.25, "cuda")),
    ({"cpus": 4, "gpus": 1, "gpus_per_trial": 0}, (4, 1, 0.0, "cpu")),
]


@pytest.mark.parametrize(("machine", "slots"), SHARES)
def test_cores_and_gpus_are_shared_out(
    machine: dict[str, Any], slots: tuple[int, int, float, str]
) -> None:
    got = plan(**machine)
    assert (got.workers, got.threads, got.gpus_per_trial, got.device) == slots


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"gpus": 1, "gpus_per_trial": "auto"}, "--gpus-per-trial auto is not built yet; give a num"),
    ({"gpus": 0, "gpus_per_trial": 0.5}, "--gpus-per-trial 0.5 needs as many GPUs, there are 0"),
    ({"gpus": 1, "gpus_per_trial": 2}, "--gpus-per-trial 2 needs as many GPUs, there are 1"),
    ({"gpus": 4, "gpus_per_trial": 1.5}, "above 1 must be a whole number, got 1.5"),
    ({"gpus": 4, "gpus_per_trial": -1}, "--gpus-per-trial must be 0 or more, got -1"),
    ({"gpus": 0, "workers": 5}, r"--workers must be in \[1, 4\] with 4 cores, got 5"),
    ({"gpus": 2, "workers": 3}, r"--workers must be in \[1, 2\] with 2 GPUs at 1 for each, got 3"),
    ({"gpus": 0, "workers": 0}, r"--workers must be in \[1, 4\] with 4 cores, got 0"),
]


@pytest.mark.parametrize(("machine", "message"), REFUSED)
def test_shares_that_cannot_be_given_are_refused(machine: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        plan(cpus=4, **machine)


def test_cores_are_those_this_process_may_use() -> None:
    assert 1 <= count_cpus() <= (os.cpu_count() or 1)


def test_ray_is_told_to_use_the_environment_that_uv_run_made() -> None:
    from ray._private import ray_constants

    assert ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV is False


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:9", "--address 127.0.0.1:9: nobody answers there"),
        ("ray://127.0.0.1:10001", "--address must be HOST:PORT of the cluster's head"),
        ("head", "--address must be HOST:PORT of the cluster's head"),
        ("127.0.0.1:70000", "nobody answers there"),
    ],
)
def test_an_address_without_a_cluster_is_told_at_once(address: str, says: str) -> None:
    with pytest.raises(OptionsError, match=says):
        check_address(address)


def test_a_worker_has_its_environment_before_its_python_starts(local_ray: str) -> None:
    import ray

    @ray.remote(num_cpus=1)
    def look() -> dict[str, str]:
        raw = Path("/proc/self/environ") if Path("/proc/self/environ").exists() else None
        if raw is None:
            return dict(os.environ)
        pairs = raw.read_text().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    slots = Slots(workers=2, threads=1, gpus_per_trial=0.0, device="cpu")
    wanted = environment(slots)
    got = ray.get(look.remote())
    assert {name: got.get(name) for name in wanted} == wanted
    assert "OMP_NUM_THREADS" not in os.environ or os.environ["OMP_NUM_THREADS"] == "1"


def test_a_ray_that_is_there_is_used_and_stays(local_ray: str) -> None:
    import ray

    slots = Slots(workers=2, threads=1, gpus_per_trial=0.0, device="cpu")
    with start_ray(slots):
        assert ray.get_runtime_context().gcs_address == local_ray
    assert ray.is_initialized()


@pytest.mark.slow
def test_nothing_is_left_of_a_ray_of_our_own() -> None:
    script = """
        import sys
        from pathlib import Path
        import ray
        from search.starting import start_ray
        from search.workers import Slots

        slots = Slots(workers=1, threads=1, gpus_per_trial=0.0, device="cpu")
        folder = Path(sys.argv[1])
        with start_ray(slots, temp_dir=folder):
            @ray.remote
            def here():
                return True
            print(ray.get(here.remote()), ray.cluster_resources()["CPU"])
        print(folder.exists(), ray.is_initialized())
    """
    folder = tempfile.mkdtemp(prefix="xs-", dir="/tmp")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), folder],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "1.0", "False", "False"]
    running = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert folder not in running
