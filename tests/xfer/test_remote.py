"""Images that have a URL: fetched once, again when they change, told when they cannot be."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from xfer.data import load_dataset
from xfer.data.remote import fetched
from xfer.data.sources import open_source
from xfer.errors import DataError
from xfer.recipe import Images, Table
from xfer.store import Store


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine that has fetched nothing yet."""
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    fetched.cache_clear()
    yield tmp_path / "cache"
    fetched.cache_clear()


def pictures(root: Path) -> Path:
    generator = np.random.default_rng(0)
    for kind in ("ill", "well"):
        (root / kind).mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{number}.png")
    return root


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """An object store in memory that holds a folder of images."""
    there = fsspec.filesystem("memory")
    there.put(str(pictures(tmp_path / "made")) + "/", "/bucket/set/", recursive=True)
    yield "memory://bucket/set"
    there.rm("/bucket", recursive=True)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server with a folder of images, and what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(str(args[0]))

    handler = functools.partial(Handler, directory=str(pictures(tmp_path / "www" / "set").parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/set/", asked
        server.shutdown()


def images(path: str | Table) -> Images:
    return Images(path, positive="ill", size=16)


def test_images_of_an_object_store_are_the_same_as_those_of_a_folder(
    bucket: str, tmp_path: Path
) -> None:
    far, _ = load_dataset(images(bucket), store=Store(tmp_path / "far"))
    near, loading = load_dataset(images(str(tmp_path / "made")), store=Store(tmp_path / "near"))
    rows = np.arange(24)
    assert np.array_equal(far.pixels[rows], near.pixels[rows])
    assert far.digest == near.digest
    assert loading.images == 24
    assert open_source(images(bucket)).name == bucket


def test_a_second_look_fetches_only_what_has_changed(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetched(bucket)
    there = fsspec.filesystem("memory")
    there.rm("/bucket/set/ill/0.png")
    there.pipe("/bucket/set/ill/1.png", (tmp_path / "made/well/1.png").read_bytes())
    got: list[str] = []
    monkeypatch.setattr(type(there), "get_file", _counting(type(there).get_file, got), raising=True)
    fetched.cache_clear()
    assert fetched(bucket) == folder
    assert got == ["/bucket/set/ill/1.png"]
    assert not (folder / "ill/0.png").exists()
    assert (folder / "ill/1.png").read_bytes() == (tmp_path / "made/well/1.png").read_bytes()


def _counting(method, got):
    def get_file(self, path, target, **more):
        got.append(path)
        return method(self, path, target, **more)

    return get_file


def test_what_was_cut_short_is_fetched_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = type(fsspec.filesystem("memory"))
    method = memory.get_file
    got: list[str] = []

    def breaking(self, path, target, **more):
        method(self, path, target, **more)
        got.append(path)
        if len(got) > 5:
            raise ConnectionResetError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(memory, "get_file", breaking)
        with pytest.raises(DataError, match=r"memory://bucket/set cannot be kept|the network is g"):
            fetched(bucket)
    folder = fetched(bucket)
    assert len(list(folder.rglob("*.png"))) == 24
    assert [path for path in folder.rglob("*") if path.name.startswith(".")] == []
    lines = (folder.parent / "there.jsonl").read_text().splitlines()
    assert {json.loads(line)[0] for line in lines} >= {"ill/0.png", "well/11.png"}


def test_images_of_a_web_server_are_found_in_its_pages(web: tuple[str, list[str]]) -> None:
    pytest.importorskip("aiohttp")
    url, asked = web
    source = open_source(images(url))
    assert (len(source.items), source.classes) == (24, ("ill", "well"))
    before = len([line for line in asked if ".png" in line and "GET" in line])
    fetched.cache_clear()
    open_source(images(url))
    assert len([line for line in asked if ".png" in line and "GET" in line]) == before == 24


def test_a_table_that_has_a_url_brings_its_folder(bucket: str) -> None:
    there = fsspec.filesystem("memory")
    lines = [f"{kind}/{n}.png,{kind}" for kind in ("ill", "well") for n in range(12)]
    there.pipe("/bucket/set/labels.csv", "\n".join(["file,kind", *lines]).encode())
    table = Table(f"{bucket}/labels.csv", path="file", label="kind")
    source = open_source(images(table))
    assert len(source.items) == 24
    assert isinstance(source.read(0), bytes)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://bucket/nothing", "no images at memory://bucket/nothing"),
        ("nonsense://bucket/set", "nonsense://bucket/set is no URL that can be read"),
        ("http://127.0.0.1:9/set/", "no images at http://127.0.0.1:9/set/: .* or nobody answers"),
        ("nobody-has-this://bucket", "is no URL that can be read"),
    ],
)
def test_what_cannot_be_fetched_is_told(url: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_source(images(url))
