"""Where in a space file is it said? Lines, read off the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator

CLOCKS = frozenset(
    {"random", "time", "datetime", "secrets", "uuid", "os", "randint", "default_rng"}
)
"""Names by which a space may come to depend on more than its trial."""


class Lines:
    """A space file, asked where things stand; None where that is not one place."""

    def __init__(self, text: str) -> None:
        self._tree = ast.parse(text)

    def known(self, entry: str, key: str | None = None) -> int | None:
        """Of an entry of KNOWN, or of one of its keys; else of KNOWN."""
        value = self._value("KNOWN")
        line = value.lineno if value is not None else None
        for name in (entry, key) if key is not None else (entry,):
            if not isinstance(value, ast.Dict):
                break
            for k, v in zip(value.keys, value.values, strict=True):
                if isinstance(k, ast.Constant) and k.value == name:
                    line, value = k.lineno, v
                    break
            else:
                break
        return line

    def function(self, name: str = "space") -> int | None:
        """Of `def NAME`."""
        return self._only(
            node.lineno
            for node in self._tree.body
            if isinstance(node, ast.FunctionDef) and node.name == name
        )

    def call(self, name: str) -> int | None:
        """Of the one call of `NAME(...)`."""
        return self._only(
            node.lineno
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == name
        )

    def text(self, value: str) -> int | None:
        """Of the first place that holds this text, and nothing else, in quotes."""
        lines = [
            node.lineno
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Constant) and node.value == value
        ]
        return min(lines, default=None)

    def clock(self) -> int | None:
        """Of the first use, in a function, of something that is not the same each time."""
        lines = [
            node.lineno
            for function in ast.walk(self._tree)
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and node.id in CLOCKS
        ]
        return min(lines, default=None)

    def _value(self, name: str) -> ast.expr | None:
        for node in self._tree.body:
            if isinstance(node, ast.Assign):
                targets: list[ast.expr] = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            else:
                continue
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return node.value
        return None

    @staticmethod
    def _only(lines: Iterator[int]) -> int | None:
        found = list(lines)
        return found[0] if len(found) == 1 else None
