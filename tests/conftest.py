"""What tests share: one Ray of this machine's own, started for the first test that asks for it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import search  # noqa: F401  tells Ray what it must not do, before a test imports Ray itself

# A shell that starts a command in the background has it ignore Ctrl-C, and so would everything that
# the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Laws are checked however slow the machine is: no deadline per case, and fewer cases.
settings.register_profile("laws", deadline=None, max_examples=40)
settings.load_profile("laws")


@pytest.fixture(scope="session", autouse=True)
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test counts openings in somebody's home."""
    with pytest.MonkeyPatch.context() as patch:
        if "XFER_LEDGER" not in os.environ:
            patch.setenv("XFER_LEDGER", str(tmp_path_factory.mktemp("ledger")))
        yield


@pytest.fixture(scope="session")
def local_ray() -> Iterator[str]:
    """Two workers of one thread each; yields the address. Ended by what started it."""
    import ray

    from search.starting import start_ray
    from search.workers import Slots

    slots = Slots(workers=2, threads=1, gpus_per_trial=0.0, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        fakes = str(Path(__file__).parent / "search")  # trainables that workers import
        patch.setenv("PYTHONPATH", fakes, prepend=os.pathsep)
        with start_ray(slots):
            yield ray.get_runtime_context().gcs_address
