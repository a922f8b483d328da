"""What is the cluster like? Sent as text and run there, before anything of ours is there.

    python -c TEXT QUESTIONS      prints one line: MARK, and the answers as JSON

Nothing but the standard library and Ray is needed; torch is timed where there is one.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

MARK = "SEARCH-PROBE"
_SEEN_S = 8.0
"""A file that was just written is looked for as long: network file systems can be late."""
_CONNECT_S = 10.0


def look(packages: list[str], marker: str | None, seen_s: float = _SEEN_S) -> dict[str, Any]:
    """What one node is like.

    Args:
        packages: distributions whose versions are wanted.
        marker: a file that the driver has written to the folder of the runs; None: it could not.
        seen_s: how long it is looked for, in seconds.
    """
    return {
        "packages": {name: _version(name) for name in packages},
        "out": "" if marker is None else _shares(Path(marker), seen_s),
        "seconds": steps("cpu"),
    }


def steps(device: str) -> float | None:
    """Seconds of one small training step, the best of several, in one thread; None: no torch."""
    try:
        import torch
    except ImportError:
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(32, 32, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(32, 2),
        ).to(device)
        images = torch.zeros(32, 3, 64, 64, device=device)
        best = float("inf")
        for _ in range(6):
            began = time.perf_counter()
            net(images).square().mean().backward()
            if device != "cpu":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
        return best
    finally:
        torch.set_num_threads(before)


def gpu_steps() -> float | None:
    """The same on a GPU; None: torch sees none."""
    try:
        import torch
    except ImportError:
        return None
    return steps("cuda") if torch.cuda.is_available() else None


def reach(url: str) -> str:
    """Why a database cannot be reached from here; empty: it can."""
    said = [f"no answer within {_CONNECT_S:.0f} s"]

    def connect() -> None:
        try:
            import sqlalchemy

            place = sqlalchemy.make_url(url)
            if place.get_backend_name() == "sqlite":  # connecting would make the file
                folder = Path(place.database or ".").parent
                said[0] = "" if os.access(folder, os.W_OK) else f"{folder} cannot be written"
                return
            engine = sqlalchemy.create_engine(place)
            engine.connect().close()
            engine.dispose()
            said[0] = ""
        except Exception as error:  # whatever a database's driver raises
            said[0] = f"{type(error).__name__}: {error}".strip().splitlines()[0]

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECT_S)
    return said[0]


def run_state(out: str, name: str) -> str:
    """What is where the run would lie: `absent`, `begun`, or `other`."""
    folder = Path(out, name)
    if not folder.exists():
        return "absent"
    return "begun" if (folder / "manifest.json").is_file() else "other"


def run_data(out: str, name: str) -> str | None:
    """Where the images of a run are that was begun with `--data`; None: without, or they are gone.

    Args:
        out: folder of the runs.
        name: of the run.
    """
    try:
        manifest = json.loads(Path(out, name, "manifest.json").read_text(encoding="utf-8"))
        path = manifest["plan"]["options"]["data"]
    except (OSError, ValueError, KeyError):
        return None
    anywhere = path and (path.startswith("builtin:") or "://" in path)
    return path if anywhere or (path and Path(path).exists()) else None


def weights_at_hand(files: list[str]) -> dict[str, bool]:
    """Which files torch.hub has here."""
    return {name: Path(hub_folder(), "checkpoints", name).is_file() for name in files}


def hub_folder() -> str:
    """`torch.hub.get_dir()`, without torch's long import."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))  # noqa: PTH118
    return str(Path(home).expanduser() / "hub")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _shares(marker: Path, seen_s: float) -> str:
    """Why this node does not share the folder of a marker; empty: it sees and can write it."""
    until = time.monotonic() + seen_s
    while not marker.is_file():
        if time.monotonic() > until:
            return f"does not see what the driver's node wrote to {marker.parent}"
        time.sleep(0.25)
    own = marker.with_name(f"{marker.name}-{uuid.uuid4().hex}")
    try:
        own.write_text("")
        own.unlink()
    except OSError as error:
        return f"cannot write to {marker.parent} ({error.strerror or error})"
    return ""


def _mark(out: Path) -> tuple[Path | None, str, list[Path]]:
    """A file written to a folder, why it was not, and the folders that were made for it."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        marker = out / f".probe-{uuid.uuid4().hex}"
        marker.write_text("")
    except OSError as error:
        return None, f"cannot write to {out} ({error.strerror or error})", made
    return marker, "", made


def _clear(marker: Path | None, made: list[Path]) -> None:
    try:
        if marker is not None:
            marker.unlink()
        for folder in made:
            folder.rmdir()
    except OSError:
        return  # somebody else's file is there by now


def _ask_nodes(
    nodes: list[dict[str, Any]], packages: list[str], marker: Path | None, until: float
) -> list[dict[str, Any]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    def on(node: dict[str, Any], function: Any, *args: Any, gpus: float = 0) -> Any:
        place = On(node["NodeID"], soft=False)
        # Neither waits for cores nor for memory: a busy cluster answers, too.
        task = ray.remote(num_cpus=0, num_gpus=gpus, max_retries=0)(function)
        return task.options(scheduling_strategy=place).remote(*args)

    marked = None if marker is None else str(marker)
    looks = {node["NodeID"]: on(node, look, packages, marked) for node in nodes}
    with_gpus = [node for node in nodes if node["Resources"].get("GPU")]
    timed = {node["NodeID"]: on(node, gpu_steps, gpus=0.01) for node in with_gpus}

    def answer(task: Any) -> Any:
        try:
            return ray.get(task, timeout=max(0.1, until - time.monotonic()))
        except Exception as error:  # the node may die, or be full for so long
            return {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}

    found = []
    for node in nodes:
        resources, host = node["Resources"], node["NodeManagerHostname"]
        facts = {
            "name": f"{host} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})",
            "id": node["NodeID"],
            "cpus": resources.get("CPU", 0.0),
            "gpus": resources.get("GPU", 0.0),
            "failed": "",
        }
        facts |= answer(looks[node["NodeID"]])
        seconds = answer(timed[node["NodeID"]]) if node["NodeID"] in timed else None
        facts["gpu_seconds"] = seconds if isinstance(seconds, float) else None
        found.append(facts)
    return found


def main(questions: dict[str, Any]) -> None:
    """Asks every node, and prints the answers."""
    import logging

    import ray

    until = time.monotonic() + questions["limit_s"]
    ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    out = questions["out"]
    marker, wrong, made = _mark(Path(out)) if out else (None, "", [])
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        found = _ask_nodes(nodes, questions["packages"], marker, until)
    finally:
        _clear(marker, made)
    url = questions["storage"]
    answers = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "ray": ray.__version__,
        "driver": ray.get_runtime_context().get_node_id(),
        "out": wrong,
        "run": run_state(out, questions["run"]) if out else "absent",
        "run_data": run_data(out, questions["run"]) if out else None,
        "paths": {path: Path(path).expanduser().exists() for path in questions["paths"]},
        "weights": weights_at_hand(questions["weights"]),
        "storage": "" if url is None else reach(url),
        "nodes": found,
    }
    print(MARK, json.dumps(answers), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
