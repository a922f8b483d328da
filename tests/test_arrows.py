"""Who may import whom: read off the syntax trees, so that a wrong arrow fails before it is used."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RAY = {
    "bridge", "workers", "worker", "experiment", "nodes", "origin", "starting", "submit", "jobs",
    "probe", "probe_script", "readiness",
}  # fmt: skip
OPTUNA = {"study", "bridge", "check", "report"}
DRAWERS = {"util", "utils", "common", "helper", "helpers", "core", "base", "misc"}


def imported(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no files in {folder}"
    return found


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files("xfer"), ids=identify)
def test_xfer_knows_neither_ray_nor_optuna_nor_search(path: Path) -> None:
    assert not tops(path) & {"ray", "optuna", "search", "spaces", "tensorboard"}


@pytest.mark.parametrize("path", files("search"), ids=identify)
def test_only_named_files_import_ray_or_optuna(path: Path) -> None:
    noun = path.relative_to(ROOT / "search").parts[0].removesuffix(".py")
    assert "ray" not in tops(path) or noun in RAY
    assert "optuna" not in tops(path) or noun in OPTUNA
    assert "spaces" not in tops(path)


@pytest.mark.parametrize("path", files("spaces"), ids=identify)
def test_a_space_imports_the_vocabulary_and_the_standard_library(path: Path) -> None:
    ours = {name for name in imported(path) if name.split(".")[0] in {"xfer", "search", "spaces"}}
    modules = {name for name in ours if name.count(".") == 1}
    assert modules <= {"search.space", "xfer.recipe"}
    assert tops(path) - {"xfer", "search"} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    "path",
    [*files("xfer/recipe"), ROOT / "search/space.py", ROOT / "search/trials.py"],
    ids=identify,
)
def test_the_vocabulary_loads_with_the_standard_library_alone(path: Path) -> None:
    assert tops(path) - {"xfer", "search"} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", files("xfer") + files("search"), ids=identify)
def test_a_file_holds_one_noun(path: Path) -> None:
    assert path.stem not in DRAWERS
    assert len(path.read_text().splitlines()) <= 300
