"""Which backbones are there, what do they cost, and what may a recipe name inside of one?

    python -m xfer.models [--size N]             the table
    python -m xfer.models NAME... [--size N]     blocks, and the names for train= and cut_after=

Exit codes: 0 done; 2 what was given is wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from xfer.errors import RecipeError
from xfer.models.limits import backbone_named
from xfer.models.table import TABLE

DESCRIPTION = """\
Without a name: every backbone with its parameters, its multiply-adds, the bytes of its features
and its weights. With names: what a recipe may name inside of these."""

EXAMPLE = """\
One line per name, to be searched:
  python -m xfer.models densenet121 | grep ^train     what Pretrained(train=...) takes
  python -m xfer.models densenet121 | grep ^node      what Pretrained(cut_after=...) takes"""

_LEGEND = """\
Images of {size} x {size} pixels; backbones without torchvision's classifier. GFLOPs are 10^9
multiply-adds, as torchvision publishes them. Bytes are of the features of one image (float32) that
a frozen prefix hands over at each unfreeze depth; at 0 they are averaged over positions.

                   params         bytes of features at depth
backbone                M GFLOPs      3     2     1     0  weights  MB  file"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    asked = _parser().parse_args(arguments)
    try:
        _check(asked.names)
        for line in _lines(asked.names, asked.size):
            print(line, flush=True)
    except RecipeError as error:
        print(f"xfer.models: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("xfer.models: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough; what is still in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _check(names: Sequence[str]) -> None:
    """All that are no backbones are told, before anything slow is imported."""
    wrong = []
    for name in names:
        try:
            backbone_named(name)
        except RecipeError as error:
            wrong.append(str(error))
    if wrong:
        raise RecipeError("\n".join(wrong))


def _lines(names: Sequence[str], size: int) -> Iterator[str]:
    if not names:
        yield from table(TABLE, size)
    for number, name in enumerate(dict.fromkeys(names)):
        if number:
            yield ""
        yield from inside(name, size)


# --------------------------------------------------------------------------------------------------
# The table


def table(names: Iterable[str], size: int) -> Iterator[str]:
    """What backbones cost: a legend, then a line for each, yielded as it is computed.

    Args:
        names: of backbones.
        size: side of the images, in pixels; a backbone that does not take it is computed at the
            nearest one, and its line says so.
    """
    yield from _LEGEND.format(size=size).splitlines()
    from xfer.models.listing import summary

    for name in names:
        nearest = TABLE[name].nearest_size(size)
        costs = summary(name, size=nearest)
        features = " ".join(f"{_short(count):>5}" for count in costs.features)
        note = "" if nearest == size else f" (at {nearest} x {nearest})"
        yield (
            f"{name:<18} {costs.parameters / 1e6:>6.2f} {costs.madds / 1e9:>6.2f}  {features}"
            f"  {_weights(name)}{note}"
        )


def _weights(name: str) -> str:
    from xfer.models.listing import weights_bytes
    from xfer.models.weights import at_hand

    where = "here" if at_hand(name) else "fetch"
    return f"{where:<7} {weights_bytes(name) / 1e6:>3.0f}  {TABLE[name].file}"


def _short(count: int) -> str:
    """Bytes in five characters.

    >>> [_short(count) for count in (900, 8_192, 401_408, 3_211_264, 51_380_224)]
    ['900', '8.2k', '401k', '3.2M', '51M']
    """
    for unit, scale in (("M", 10**6), ("k", 10**3)):
        if count >= scale:
            value = count / scale
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    return str(count)


# --------------------------------------------------------------------------------------------------
# One backbone


def inside(name: str, size: int) -> Iterator[str]:
    """A backbone's blocks, and all that a recipe may name of it, a line each.

    Args:
        name: of the backbone.
        size: as in `table`.
    """
    from xfer.models.assembly import block_costs
    from xfer.models.listing import cuttable, summary, trainable
    from xfer.recipe import Pretrained

    row = TABLE[name]
    nearest = row.nearest_size(size)
    costs = summary(name, size=nearest)
    note = "" if nearest == size else f" ({size} does not fit; this is the nearest that does)"
    yield f"{name}, images of {nearest} x {nearest} pixels{note}"
    yield (
        f"{costs.parameters:,} parameters and {costs.madds:,} multiply-adds, without torchvision's "
        "classifier"
    )
    yield from _expected(name)

    what = "tokens x values" if row.tokens else "output"
    yield f"\nBlocks by stage: {what}, parameters, multiply-adds"
    blocks = block_costs(Pretrained(name), size=nearest, channels=3)
    width = max(len(block.name) for block in blocks)
    for block in blocks:
        yield (
            f"{block.part} {block.name:<{width}} {_shape(block.shape):<15} {block.parameters:>10,}"
            f" {block.madds:>13,}"
        )
    yield "\nNames for train=, with their parameters"
    names = trainable(name, size=nearest)
    width = max(len(module) for module, _ in names)
    for module, count in names:
        yield f"train {module:<{width}} {count:>11,}"
    yield "\nNames for cut_after=, with the features that a head would get"
    places = cuttable(name, size=nearest)
    width = max(len(node) for node, _ in places)
    for node, shape in places:
        yield f"node {node:<{width}} {_shape(shape)}"
    yield "A module inside of a block may be named too, and stands for its last node."


def _expected(name: str) -> Iterator[str]:
    """What a backbone takes, and where its weights are."""
    from xfer.models.listing import weights_bytes
    from xfer.models.weights import preprocessing, weights_file

    row, file, expected = TABLE[name], weights_file(name), preprocessing(name)
    if row.min_size > 1:
        multiple = f", a multiple of {row.multiple}" if row.multiple > 1 else ""
        yield f"takes images of at least {row.min_size} x {row.min_size} pixels{multiple}"
    mean, std = (", ".join(map(str, values)) for values in (expected.mean, expected.std))
    yield f"normalised by mean {mean} and deviation {std}; {expected.interpolation} resizing"
    here = file.path.is_file()
    about = f"weights {row.weights}, {weights_bytes(name) / 1e6:.0f} MB"
    yield f"{about}, {'here' if here else 'to fetch'}"
    if not here:
        yield f"  from {file.url}"
    yield f"  {'in' if here else 'to'} {file.path}"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


# --------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xfer.models",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a backbone")
    parser.add_argument(
        "--size", type=_side, default=224, metavar="N", help="image side in pixels (224)"
    )
    return parser


def _side(text: str) -> int:
    """What `Images.size` may be."""
    if not text.isdecimal() or not 8 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"must be a whole number in [8, 4096], got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
