"""Room for trials on a cluster's nodes, and which nodes cannot take part."""

from pathlib import Path
from typing import Any

import pytest

from search.errors import OptionsError
from search.nodes import Node, _look, _wrong, alive, check_nodes, room, share_out
from search.workers import Slots

SMALL = Node(id="a", name="10.0.0.1", cpus=2, gpus=0)
LARGE = Node(id="b", name="10.0.0.2", cpus=16, gpus=0)
ONE_GPU = Node(id="c", name="10.0.0.3", cpus=8, gpus=1)
FOUR_GPUS = Node(id="d", name="10.0.0.4", cpus=64, gpus=4)

SHARES: list[tuple[list[Node], dict[str, Any], tuple[int, int, float, str]]] = [
    ([SMALL], {}, (2, 1, 0.0, "cpu")),
    ([LARGE], {}, (4, 4, 0.0, "cpu")),
    ([LARGE, LARGE], {}, (8, 4, 0.0, "cpu")),
    ([SMALL, LARGE], {}, (18, 1, 0.0, "cpu")),  # workers are alike: those of the smallest node
    ([SMALL, LARGE], {"workers": 5}, (5, 1, 0.0, "cpu")),
    ([SMALL], {"workers": 40}, (40, 1, 0.0, "cpu")),  # an autoscaler may start nodes for them
    ([ONE_GPU, FOUR_GPUS], {}, (5, 8, 1.0, "cuda")),
    ([SMALL, ONE_GPU], {}, (1, 8, 1.0, "cuda")),
    ([ONE_GPU, FOUR_GPUS], {"gpus_per_trial": 0.25}, (20, 2, 0.25, "cuda")),
    ([ONE_GPU, FOUR_GPUS], {"gpus_per_trial": 2}, (2, 32, 2.0, "cuda")),
    ([ONE_GPU], {"gpus_per_trial": 0}, (4, 2, 0.0, "cpu")),
]


@pytest.mark.parametrize(("nodes", "asked", "slots"), SHARES)
def test_a_clusters_cores_and_gpus_are_shared_out(
    nodes: list[Node], asked: dict[str, Any], slots: tuple[int, int, float, str]
) -> None:
    got = share_out(nodes, **asked)
    assert (got.workers, got.threads, got.gpus_per_trial, got.device) == slots


@pytest.mark.parametrize(
    ("nodes", "share", "says"),
    [
        ([SMALL], 1.0, "--gpus-per-trial 1, and the largest of 1 nodes has 0 GPUs"),
        ([ONE_GPU], 2.0, "--gpus-per-trial 2, and the largest of 1 nodes has 1 GPUs"),
        ([], None, "no node of the cluster has room for a trial"),
        ([ONE_GPU], "auto", "--gpus-per-trial auto is not built yet"),
    ],
)
def test_a_cluster_without_room_for_one_trial_is_refused(
    nodes: list[Node], share: float | str | None, says: str
) -> None:
    with pytest.raises(OptionsError, match=says):
        share_out(nodes, gpus_per_trial=share)


def test_room_follows_the_nodes_that_there_are() -> None:
    slots = Slots(workers=1, threads=2, gpus_per_trial=0.0, device="cpu")
    assert [room(nodes, slots) for nodes in ([], [SMALL], [SMALL, LARGE])] == [0, 1, 9]


def test_what_keeps_a_node_from_taking_part_is_told_in_full() -> None:
    ours = _look(None)
    theirs = dict(ours) | {"out": False, "torch": "1.0", "python": "2.7"}
    said = list(_wrong("10.0.0.9", ours, theirs, Path("/nfs/runs")))
    assert len(said) == 3
    assert "10.0.0.9 does not see /nfs/runs" in said[0]
    assert f"10.0.0.9 has torch 1.0, the driver's node {ours['torch']}" in said[2]
    assert not list(_wrong("10.0.0.9", ours, ours, Path("/nfs/runs")))


def test_a_folder_that_cannot_be_written_is_told_by_the_node_that_cannot(tmp_path: Path) -> None:
    seen = _look(str(tmp_path / "not there"))
    assert seen["out"] is False
    assert list(_wrong("n", _look(None), seen | {"out": "Read-only file system"}, tmp_path)) == [
        f"n cannot write to {tmp_path}: Read-only file system"
    ]


def test_the_nodes_of_a_ray_can_take_part_and_nothing_is_left_in_the_folder(
    local_ray: str, tmp_path: Path
) -> None:
    nodes = alive()
    assert [node.cpus for node in nodes] == [2]
    check_nodes(nodes, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []
