"""How does text become lines of Python that a formatter leaves as they are?"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

WIDTH = 100


def comment(text: str, *, indent: int = 0) -> Iterator[str]:
    """Text as comment lines.

    >>> list(comment("Why it is so.", indent=4))
    ['    # Why it is so.']
    """
    start = " " * indent + "# "
    yield from textwrap.wrap(
        text, width=WIDTH, initial_indent=start, subsequent_indent=start,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def paragraph(text: str) -> Iterator[str]:
    """Text as lines of a docstring."""
    yield from textwrap.wrap(
        inside(text), width=WIDTH, break_long_words=False, break_on_hyphens=False
    )


def inside(text: str) -> str:
    r"""Text as it stands in a docstring.

    >>> inside('a\\b')
    'a\\\\b'
    """
    return text.replace("\\", "\\\\").replace('"""', "'''")


def shown(name: str) -> str:
    r"""A name for people, on one line whatever is in it.

    >>> shown("left\nright")
    'left\\nright'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def literal(text: str) -> str:
    """A string in double quotes, unless that would need more backslashes.

    >>> print(literal("it's"), literal('a "b"'))
    "it's" 'a "b"'
    """
    quote = '"' if text.count('"') <= text.count("'") else "'"
    body = "".join(
        f"\\{c}" if c in (quote, "\\") else c if c.isprintable() else repr(c)[1:-1] for c in text
    )
    return f"{quote}{body}{quote}"


def pattern(regex: str) -> str:
    """A regular expression as a raw string; none of ours has a double quote."""
    assert '"' not in regex
    return f'r"{regex}"'
