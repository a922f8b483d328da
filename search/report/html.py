"""How is text kept from becoming markup? Elements are built by functions that escape it."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = {"meta", "circle", "line", "polyline", "path", "rect"}
"""Elements without content."""
_NUMBER = '<td class="n"'
"""How `number` begins."""


class Html(str):
    """Markup that is safe as it is; every other string is escaped when it is placed."""

    __slots__ = ()


def element(tag: str, /, *content: str | None, **attributes: str | int | float | None) -> Html:
    """One element.

    Args:
        tag: its name.
        content: strings are escaped, `Html` is not; None is left out.
        attributes: `class_` for class, `data_v` for data-v; None leaves one out.

    >>> element("b", "a < b", class_="x")
    '<b class="x">a &lt; b</b>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{written}/>")
    return Html(f"<{tag}{written}>{joined(content)}</{tag}>")


def joined(content: Iterable[str | None]) -> Html:
    """Pieces one after another, escaped where they are no markup."""
    return Html(
        "".join(
            piece if isinstance(piece, Html) else html.escape(piece)
            for piece in content
            if piece is not None
        )
    )


def table(
    head: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    class_: str | None = None,
) -> Html:
    """A table that scrolls sideways where the screen is narrow; cells may be `td` already.

    The head of a column stands over its numbers, at the right, where its first cell is one.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    first = cells[0] if cells else []
    heads = joined(
        element("th", cell, class_="n" if i < len(first) and first[i].startswith(_NUMBER) else None)
        for i, cell in enumerate(head)
    )
    body = joined(element("tr", *row) for row in cells)
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", heads)),
            element("tbody", body),
            class_=class_,
        ),
        class_="wide",
    )


def number(text: str, value: float | None = None) -> Html:
    """A cell with a number, and what it is sorted by."""
    return element("td", text, class_="n", data_v=value)


def _cell(cell: str) -> Html:
    return cell if isinstance(cell, Html) and cell.startswith("<td") else element("td", cell)


def _plain(value: str | int | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
