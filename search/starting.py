"""How is Ray started on this machine, or a cluster of it joined, and how is it left again?"""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray

from search.errors import OptionsError
from search.workers import Slots, environment, set_variables

_RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    # On a loaded machine Ray's processes need longer than Ray waits by default.
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_worker_register_timeout_seconds": "300",
    # Ray's own monitor ends workers at 95 % of memory, page cache of mapped images included, and
    # says so in a way that ends the whole experiment. The kernel picks workers first, too, and a
    # worker's death is something that a search goes on from.
    "RAY_memory_monitor_refresh_ms": "0",
}
"""Read by Ray's own processes when they start, and by workers from them."""


@contextmanager
def start_ray(
    slots: Slots,
    *,
    address: str | None = None,
    temp_dir: Path | None = None,
) -> Iterator[None]:
    """Within it Ray is there; what was started for it is ended, what was there before stays.

    Args:
        slots: Room that a Ray of our own is given, and workers' threads.
        address: A cluster to join; None: a Ray of our own on this machine, for nobody else.
        temp_dir: Folder for Ray's sockets and logs, with a short path; it is removed in the end.
            None: one under /tmp.

    Raises:
        OptionsError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    if address is not None:
        with _join(address, environment(slots)):
            yield
        return
    # Sockets have paths of at most 104 bytes on macOS, 108 on Linux; TMPDIR is often too long.
    _sweep()
    folder = temp_dir or Path(tempfile.mkdtemp(prefix=f"xs-{os.getpid()}-", dir="/tmp"))
    try:
        with set_variables(environment(slots) | _RAY_SETTINGS), _own_sigterm():
            _start_local(slots, folder)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def look_at(address: str) -> Iterator[None]:
    """Within it Ray is there, to be asked what a cluster is like.

    Raises:
        OptionsError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    with _join(address, {}):
        yield


@contextmanager
def _join(address: str, variables: Mapping[str, str]) -> Iterator[None]:
    check_address(address)
    try:
        with _own_sigterm():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": dict(variables)},
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OptionsError(f"--address {address}: no Ray cluster there: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray's start puts a handler of its own, which aborts, in place of Python's."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _sweep() -> None:
    """Removes the folders of drivers that were killed; each names its process."""
    for folder in Path("/tmp").glob("xs-*-*"):
        process = folder.name.split("-")[1]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def check_address(address: str) -> None:
    """Looks at once for what Ray would wait for, minutes long.

    Raises:
        OptionsError: not an address, or nobody answers there.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal():
        raise OptionsError(
            f"--address must be HOST:PORT of the cluster's head, such as 10.0.0.1:6379, or auto; "
            f"got {address}."
        )
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise OptionsError(f"--address {address}: nobody answers there: {error}.") from None


def _start_local(slots: Slots, folder: Path) -> None:
    ray.init(
        address="local",
        num_cpus=slots.workers * slots.threads,
        num_gpus=math.ceil(slots.workers * slots.gpus_per_trial) or None,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=128 << 20,  # pixels are mapped from disk; little else travels
        _temp_dir=str(folder),
    )
