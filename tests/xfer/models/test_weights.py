import hashlib
import os
import pickle
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model, get_model_weights

from xfer.errors import RecipeError, WeightsError
from xfer.models.assembly import assemble
from xfer.models.backbone import random_state
from xfer.models.table import TABLE
from xfer.models.weights import (
    WeightsFile,
    at_hand,
    fetch,
    fetch_files,
    read_weights,
    weights_file,
)
from xfer.recipe import Pretrained, Recipe

BODY = b"weights" * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()[:8]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty TORCH_HOME, and no proxy between us and our own server."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "hub" / "checkpoints"


@contextmanager
def server():
    """Serves BODY under any name, but for `absent` (404) and `silent` (no answer)."""
    asked, done = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if "silent" in self.path:
                done.wait(20)
                return
            self.send_response(404 if "absent" in self.path else 200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            done.wait(0.2)  # long enough for a second process to come
            self.wfile.write(BODY)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", asked
    finally:
        done.set()
        http.shutdown()
        thread.join()
        http.server_close()


def files_at(url: str, folder: Path, *names: str) -> list[WeightsFile]:
    return [
        WeightsFile(
            name=name, url=f"{url}/{name}-{DIGEST}.pth", path=folder / f"{name}-{DIGEST}.pth"
        )
        for name in names
    ]


def fetch_now(files, **changes):
    fetch_files(files, **({"offline": False, "timeout_s": 5.0, "progress": False} | changes))


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_the_file_is_where_torchvision_looks_for_it(home):
    file = weights_file("mobilenet_v2")
    assert file.path == home / "mobilenet_v2-7ebf99e0.pth"
    assert file.digest == "7ebf99e0"
    assert not at_hand("mobilenet_v2")


def test_what_is_missing_is_fetched_once(home):
    with server() as (url, asked):
        files = files_at(url, home, "resnet18", "resnet34")
        fetch_now(files)
        fetch_now(files)
    assert visible(home) == sorted(file.path.name for file in files)
    assert all(file.path.read_bytes() == BODY for file in files)
    assert len(asked) == 2


def test_two_at_once_fetch_one_file_once(home):
    with server() as (url, asked):
        files = files_at(url, home, "resnet18")
        threads = [threading.Thread(target=fetch_now, args=(files,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert files[0].path.read_bytes() == BODY
    assert len(asked) == 1


def test_every_failure_is_told_with_file_folder_and_ways_out_and_leaves_nothing_behind(home):
    with server() as (url, _):
        files = files_at(url, home, "absent", "silent", "resnet18")
        wrong = f"{url}/wrong-00000000.pth"
        files.append(WeightsFile(name="wrong", url=wrong, path=home / "wrong-00000000.pth"))
        with pytest.raises(WeightsError) as told:
            fetch_now(files, timeout_s=0.5)
    message = str(told.value)
    assert message.startswith("no pretrained weights for absent, silent, wrong.")
    assert "404" in message
    assert "timed out" in message
    assert 'invalid hash value (expected "00000000"' in message
    assert f"Put the files into {home} (TORCH_HOME moves it)" in message
    assert "narrow the space with --backbones" in message
    assert "--weights none" in message
    assert visible(home) == [f"resnet18-{DIGEST}.pth"]  # what could be fetched stays


def test_no_server_is_told(home):
    with server() as (url, _):
        pass
    with pytest.raises(WeightsError, match="Connection refused"):
        fetch_now(files_at(url, home, "resnet18"))


def test_offline_asks_nobody_and_names_what_is_there(home):
    home.mkdir(parents=True)
    weights_file("squeezenet1_1").path.write_bytes(b"")
    with pytest.raises(WeightsError) as told:
        fetch(["resnet18", "squeezenet1_1", "mobilenet_v2", "resnet18"], offline=True)
    message = str(told.value)
    assert message.startswith("no pretrained weights for resnet18, mobilenet_v2.")
    assert "resnet18-f37072fd.pth not on this machine, and --offline forbids" in message
    assert "--backbones squeezenet1_1" in message


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes into any folder")
def test_a_folder_that_cannot_be_written_is_told(home):
    home.mkdir(parents=True)
    home.chmod(0o500)
    with pytest.raises(WeightsError, match="Permission denied"):
        fetch_now(files_at("http://127.0.0.1:1", home, "resnet18"))


def test_a_folder_that_is_a_file_is_told(home):
    home.parent.mkdir(parents=True)
    home.write_text("")
    with pytest.raises(WeightsError, match="File exists"):
        fetch_now(files_at("http://127.0.0.1:1", home, "resnet18"))


def test_an_unknown_backbone_is_not_looked_for(home):
    with pytest.raises(RecipeError, match="did you mean 'resnet18'"):
        fetch(["resnet8"], offline=True)


# --------------------------------------------------------------------------------------------------
# Reading


def put(home: Path, name: str, state) -> None:
    home.mkdir(parents=True, exist_ok=True)
    torch.save(state, weights_file(name).path)


def test_a_file_gives_its_values_in_float32_whatever_it_holds(home):
    state = random_state("squeezenet1_1", seed=1)
    put(home, "squeezenet1_1", {key: value.half() for key, value in state.items()})
    recipe = Recipe(model=Pretrained("squeezenet1_1"), lr=1e-3)
    net = assemble(recipe, classes=2, size=32, channels=3, seed=0)
    own = net.backbone.state_dict()
    assert all(torch.equal(own[key], state[key].half().float()) for key in own)


def test_old_files_may_lack_the_counters_of_batch_norms(home):
    state = random_state("resnet18", seed=1)
    put(home, "resnet18", {k: v for k, v in state.items() if "num_batches" not in k})
    recipe = Recipe(model=Pretrained("resnet18"), lr=1e-3)
    net = assemble(recipe, classes=2, size=32, channels=3, seed=0)
    assert torch.equal(net.backbone.conv1.weight, state["conv1.weight"])
    assert net.backbone.bn1.num_batches_tracked == 0


def renamed(state):
    state["features.0.wait"] = state.pop("features.0.weight")
    return state


def reshaped(state):
    state["classifier.1.weight"] = state["classifier.1.weight"][:10]
    return state


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("ran-by-pickle"),))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (renamed, r"1 missing \(features.0.weight\); 1 unexpected \(features.0.wait\)"),
        (reshaped, r"of another shape \(classifier.1.weight \(10, 512, 1, 1\) instead of \(1000"),
        (lambda _: torch.zeros(3), "cannot be read"),
        (lambda state: state | {"evil": Evil()}, "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_is_told(home, tmp_path, monkeypatch, change, told):
    monkeypatch.chdir(tmp_path)
    put(home, "squeezenet1_1", change(random_state("squeezenet1_1", seed=1)))
    with pytest.raises(WeightsError, match=told) as raised:
        read_weights("squeezenet1_1")
    assert "remove it to have it fetched from https://download.pytorch.org" in str(raised.value)
    assert not (tmp_path / "ran-by-pickle").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps(Evil())])
def test_a_damaged_file_is_told_and_never_run(home, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    put(home, "squeezenet1_1", {})
    weights_file("squeezenet1_1").path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights("squeezenet1_1")
    assert not (tmp_path / "ran-by-pickle").exists()


def test_a_missing_file_is_told(home):
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth is not on this machine"):
        read_weights("resnet18")


# --------------------------------------------------------------------------------------------------
# The real ones

SHARED = os.environ.get("TORCH_HOME", "")
REAL = [name for name in TABLE if SHARED and at_hand(name)]
needs_weights = pytest.mark.skipif(not REAL, reason="TORCH_HOME with weights is not set")


@needs_weights
@pytest.mark.parametrize("name", REAL)
def test_real_weights_are_the_backbones_values(name):
    recipe = Recipe(model=Pretrained(name), lr=1e-3)
    net = assemble(recipe, classes=2, size=64, channels=3, seed=0)
    state = read_weights(name)
    own = net.backbone.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in own)
    fetch([name], offline=True)


@pytest.mark.skipif(
    "mobilenet_v2" not in REAL or "XFER_DATA" not in os.environ,
    reason="TORCH_HOME and XFER_DATA are not both set",
)
def test_torchvisions_classifier_names_cats_and_dogs_on_our_features():
    enum = get_model_weights("mobilenet_v2")[TABLE["mobilenet_v2"].weights]
    names = enum.meta["categories"]
    dogs, cats = range(151, 269), range(281, 286)  # ImageNet's breeds of dogs, house cats
    assert (names[151], names[268]) == ("Chihuahua", "Mexican hairless")
    assert (names[281], names[285]) == ("tabby", "Egyptian cat")
    recipe = Recipe(model=Pretrained("mobilenet_v2"), lr=1e-3)
    net = assemble(recipe, classes=2, size=224, channels=3, seed=0).eval()
    full = get_model("mobilenet_v2", weights=None).eval()
    full.load_state_dict(read_weights("mobilenet_v2"))
    right = total = 0
    for kind, breeds in (("cats", cats), ("dogs", dogs)):
        folder = Path(os.environ["XFER_DATA"]) / "cats_dogs" / "test" / kind
        for path in sorted(folder.iterdir())[:20]:
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB").resize((224, 224)))
            batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
            with torch.no_grad():
                right += full.classifier(net.prefix(batch)).argmax().item() in breeds
            total += 1
    assert total == 40
    assert right / total > 0.6
