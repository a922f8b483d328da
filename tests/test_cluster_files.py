"""The files of docs/cluster.md: such as their readers accept, and in this project's words."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from search.options import Options, parse

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "cluster"
TESTED = dict(
    line.split("==")
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"][
        "constraint-dependencies"
    ]
)


def searches(text: str) -> list[Options]:
    """Every `search.run` in a text, as the command reads it; what a shell fills in is left out."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"python -m search\.run ([^\n]*)", joined)
    return [parse(shlex.split(re.sub(r'\$\([^)]*\)|"\$@"|&$', "", line))) for line in found]


@pytest.fixture(scope="module")
def rayjob() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "rayjob.yaml").read_text())


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    spec = job["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_rays_launcher_accepts_the_clouds_configuration() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((FOLDER / "aws.yaml").read_text()), schema)


def test_the_cloud_has_the_versions_that_were_tested_and_all_packages() -> None:
    config = yaml.safe_load((FOLDER / "aws.yaml").read_text())
    line = next(line for line in config["setup_commands"] if line.startswith("pip install"))
    there = dict(
        word.replace("[default]", "").split("==") for word in shlex.split(line) if "==" in word
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[\[>]", each)[0] for each in project["dependencies"]}
    assert there == {name: TESTED[name] for name in needed}


def test_the_cloud_wants_a_token_from_everybody_and_shares_the_runs() -> None:
    config = yaml.safe_load((FOLDER / "aws.yaml").read_text())
    for role in ("head", "worker"):
        starts = [line for line in config[f"{role}_start_ray_commands"] if "ray start" in line]
        assert starts
        assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert any("mount -t nfs4" in line and "/mnt/runs" in line for line in config["setup_commands"])


def test_the_job_of_kubernetes_runs_a_search_of_this_project(rayjob: dict[str, Any]) -> None:
    [options] = searches(rayjob["spec"]["entrypoint"])
    assert (ROOT / options.space).is_file()
    assert options.address == "auto"
    assert f"{options.out}/{options.name}/manifest.json" in rayjob["spec"]["entrypoint"]


def test_the_job_of_kubernetes_wants_a_token_and_the_tested_ray(rayjob: dict[str, Any]) -> None:
    spec = rayjob["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == TESTED["ray"]


def test_all_pods_have_the_same_storage_and_the_folders_that_the_search_names(
    rayjob: dict[str, Any],
) -> None:
    [options] = searches(rayjob["spec"]["entrypoint"])
    for pod in pods(rayjob):
        claims = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert set(mounted.values()) <= set(claims)
            assert "persistentVolumeClaim" in claims[mounted[options.out]]
            assert any(Path(options.data or "").is_relative_to(path) for path in mounted)
            caches = {each["name"]: each["value"] for each in container["env"]}
            for name in ("XFER_CACHE", "TORCH_HOME"):
                assert any(Path(caches[name]).is_relative_to(path) for path in mounted)


# --------------------------------------------------------------------------------------------------
# Slurm, with its commands played by others


class Slurm:
    """The script among stand-ins for `srun`, `scontrol`, `sleep` and `python`."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.log.touch()
        commands = folder / "bin"
        commands.mkdir()
        token = "mode=$RAY_AUTH_MODE token=${#RAY_AUTH_TOKEN}"
        says = f'echo "$(basename "$0") $* {token}" >> {self.log}\n'
        for name, does in (
            ("srun", ""),
            ("sleep", ""),
            ("scontrol", "printf 'n1\\nn2\\nn3\\n'"),
            ("python", 'case "$*" in *search.run*) '
             f'trap "echo ended >> {self.log}; exit 130" TERM; echo works >> {self.log}; '
             'for i in $(seq ${WORKS:-0}); do /bin/sleep .05; done;; *) printf %064d 0;; esac'),
        ):  # fmt: skip
            file = commands / name
            file.write_text(f"#!/bin/bash\n{says}{does}\n")
            file.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_NNODES": "3", "SLURM_CPUS_PER_TASK": "8",
            "SLURM_GPUS_PER_TASK": "1", "HOME": str(folder),
        }  # fmt: skip

    def start(self, *words: str, works: int = 0) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", FOLDER / "slurm.sh", *words],
            env=self.environment | {"WORKS": str(works)},
            stderr=subprocess.DEVNULL,
        )

    def said(self, name: str, *, least: int = 0) -> list[str]:
        """What was started by that name; waits for so many, which run in the background."""
        until = time.monotonic() + 30
        while True:
            lines = [line for line in self.log.read_text().splitlines() if line.startswith(name)]
            if len(lines) >= least:
                return lines
            assert time.monotonic() < until, lines
            time.sleep(0.05)


def test_slurm_starts_a_head_and_all_other_nodes_with_a_token(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path)
    assert slurm.start().wait(30) == 0
    head, others = sorted(slurm.said("srun", least=2), key=lambda line: "--head" not in line)
    assert "--nodelist=n1" in head
    assert "--nodes=2 --ntasks=2 --exclude=n1" in others
    port = re.search(r"--port=(\d+)", head)
    assert port is not None
    assert f"--address=n1:{port[1]}" in others
    assert all(line.endswith("mode=token token=64") for line in (head, others))


def test_slurm_runs_a_search_that_is_resumed_by_the_same_script(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path)
    assert slurm.start("--resume").wait(30) == 0
    [line] = [line for line in slurm.said("python") if "search.run" in line]
    words = line.split(" mode=")[0].split()
    options = parse(words[words.index("search.run") + 1 :])
    assert (options.resume, options.name, options.address) == (True, "pneumonia", "n1:24711")
    assert (ROOT / options.space).is_file()


def test_slurm_passes_its_warning_on_and_waits_for_the_search(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path)
    process = slurm.start(works=400)
    slurm.said("works", least=1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    assert slurm.said("ended")
