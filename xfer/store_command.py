"""What does `python -m xfer.features` do? Shows, checks or clears what is kept on this machine.

    python -m xfer.features --stats|--verify|--clear [--cache DIR]

Exit codes: 0 done; 1 --verify found data that differed, or the store cannot be used; 2 a wrong
flag; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from xfer.errors import XferError
from xfer.room import in_bytes
from xfer.store import Store, default_root

DESCRIPTION = """\
Shows, checks or clears the store: decoded images and features of frozen blocks, which searches and
trainings on this machine share. Whatever is removed is made again by the next run that wants it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    root: Path = asked.cache or default_root()
    if not (root / "locks").is_dir():  # looked at before it is opened, which would make it a store
        if asked.cache is not None:
            parser.error(f"--cache: {root} is no store: it has no folder 'locks'")
        print(f"nothing is kept at {root}")
        return 0
    try:
        store = Store(root)
        if asked.stats:
            return _stats(store)
        return _verify(store) if asked.verify else _clear(store)
    except XferError as error:
        print(f"xfer.features: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("xfer.features: interrupted", file=sys.stderr)
        return 130


def what(says: Mapping[str, Any]) -> str:
    """What a key holds, for people.

    >>> what({"what": "decoded image", "size": 224, "fit": "squash", "channels": 3, "decoder": 1})
    'decoded images: 224 x 224, 3 channels, squash, bilinear'
    >>> key = {"what": "features", "backbone": "resnet18", "blocks": ["stem", "layer1"]}
    >>> what({**key, "pool": None}), what({**key, "pool": "avg", "exact": 2})
    ('features of resnet18 at cut 2', 'features of resnet18 at cut 2, avg pool, exact')
    """
    told = {"interpolation": "bilinear", **says}  # which a key does not say
    try:
        if says["what"] == "decoded image":
            return (
                "decoded images: {size} x {size}, {channels} channels, {fit}, {interpolation}"
            ).format_map(told)
        if says["what"] == "features":
            pool = f", {says['pool']} pool" if says.get("pool") else ""
            exact = ", exact" if says.get("exact") else ""
            return f"features of {says['backbone']} at cut {len(says['blocks'])}{pool}{exact}"
        return str(says["what"])
    except KeyError:
        return "unknown"


def _stats(store: Store) -> int:
    entries = store.entries()
    rows = [
        (
            what(entry.says),
            f"{entry.rows:,}",
            in_bytes(entry.bytes),
            f"{entry.seconds:,.1f} s",
            datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M"),
        )
        for entry in reversed(entries)
    ]
    rows.append(
        (
            "total",
            f"{sum(entry.rows for entry in entries):,}",
            in_bytes(sum(entry.bytes for entry in entries)),
            "",  # keys that were made in one pass took the same seconds
            "",
        )
    )
    print(f"{store.root}, {in_bytes(store.room.free_bytes(store.root))} of its disk are free\n")
    _print_table([("what", "rows", "size", "took", "last used"), *rows])
    return 0


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, wide[1:], strict=True)]
        print("  ".join([f"{first:<{wide[0]}}", *cells]).rstrip())


def _verify(store: Store) -> int:
    bad = store.verify()
    for path in bad:
        print(f"differed, removed: {path}")
    entries = store.entries()
    held = in_bytes(sum(entry.bytes for entry in entries))
    if bad:
        told = "1 file differed and was removed"
        if len(bad) > 1:
            told = f"{len(bad):,} files differed and were removed"
        print(f"{told}; {held} are as they were written")
        return 1
    print(f"all {held} are as they were written")
    return 0


def _clear(store: Store) -> int:
    print(f"removed {in_bytes(store.clear())}")
    for entry in store.entries():
        held = f"{entry.rows:,} rows, {in_bytes(entry.bytes)}"
        print(f"stayed, it is in use: {what(entry.says)}, {held}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xfer.features",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "--stats", action="store_true", help="what there is, its size and what making it took"
    )
    asked.add_argument(
        "--verify", action="store_true", help="compare data with digests, remove what differs"
    )
    asked.add_argument("--clear", action="store_true", help="remove all that no process has open")
    parser.add_argument(
        "--cache",
        type=lambda text: Path(text).expanduser().absolute(),
        metavar="DIR",
        help="the store (XFER_CACHE, or ~/.cache/xfer)",
    )
    return parser
