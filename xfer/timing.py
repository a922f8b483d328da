"""How long does each block of a model take here? Measured with random weights, in about a second.

    python -m xfer.timing      a process that measures what it is asked on its standard input

Measured in a process like a worker's and beside as many others as there will be: allocation
settings, threads and neighbours change a step's time by more than all else that is measured here.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import torch

from xfer.augment import augmented
from xfer.models.assembly import assemble, block_costs
from xfer.numerics import is_out_of_memory, repeatable, set_threads
from xfer.passes import Clock, Passes, clock_of
from xfer.recipe import Augment, Pretrained, Recipe, from_json
from xfer.speed import Line, Pace, Speed, changes_key, model_key

LARGE, SMALL = 32, 4
"""Images of the two batches that a line is drawn through, where a model is small enough."""
_LARGE_MADDS = 2e9
"""Multiply-adds of the larger batch's forward pass at most; two images at the least."""
_LIMIT_S = 0.4
"""After so long in one model nothing is repeated."""
_PASSES = 5
_CHANGED = 16
"""Images that are changed to see how long that takes."""


def measure(
    recipes: Sequence[Recipe],
    *,
    classes: int,
    size: int,
    channels: int,
    threads: int,
    device: torch.device | str,
    limit_s: float = 6.0,
    clock: Clock | None = None,
) -> Speed:
    """Measures the models of recipes, those first that take most of all work.

    A model is measured once, whatever of it a recipe trains. One that the device has no memory for
    is left out. The number of threads is put back afterwards.

    Args:
        recipes: drawn from a space, at least one, each as often as it was drawn.
        classes: outputs.
        size: side of the images, in pixels.
        channels: of the images.
        threads: of torch.
        device: of the steps.
        limit_s: no other model is begun after so many seconds.
        clock: what is measured by; None: wall time.
    """
    device = torch.device(device)
    clock = clock_of(device) if clock is None else clock
    ordered = _by_work(recipes, size=size, channels=channels)  # also loads torchvision
    began = clock()
    before = torch.get_num_threads()
    set_threads(threads)
    models: dict[str, Pace] = {}
    changes: dict[str, float] = {}
    try:
        changing = Counter(recipe.augment for recipe in recipes if recipe.augment.mode != "none")
        for augment, _ in changing.most_common():
            if changes and clock() - began > limit_s / 4:
                break
            pixels = (_CHANGED, size, size, channels)
            changes[changes_key(augment)] = _changing(augment, pixels, device, clock)
        for recipe in ordered:
            if models and clock() - began > limit_s:
                break
            shape = {"classes": classes, "size": size, "channels": channels}
            try:
                with repeatable(device, seed=0):  # as in training
                    models[model_key(recipe.model)] = _pace_of(recipe, device, clock, **shape)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
    finally:
        torch.set_num_threads(before)
    return Speed(threads=threads, device=device.type, models=models, changes=changes)


def through(small: tuple[int, float], large: tuple[int, float]) -> Line:
    """The line through two measurements (images, seconds), nothing of it below 0.

    >>> through((4, 1.5), (8, 2.5))
    Line(call=0.5, image=0.25)
    """
    (few, short), (many, long) = small, large
    image = (long - short) / (many - few) if many > few else 0.0
    if image <= 0:  # noise: the larger batch is the better guess
        return Line(call=0.0, image=long / many)
    return Line(call=max(0.0, short - image * few), image=image)


# --------------------------------------------------------------------------------------------------
# One model


def _pace_of(
    recipe: Recipe,
    device: torch.device,
    clock: Clock,
    *,
    classes: int,
    size: int,
    channels: int,
) -> Pace:
    began = clock()
    model = recipe.model
    if isinstance(model, Pretrained):
        model = replace(model, unfreeze_depth=4, train=None)
    whole = Recipe(model=model, head=recipe.head, lr=1e-6, optimizer=recipe.optimizer)
    shape = {"size": size, "channels": channels}
    net = assemble(whole, classes=classes, seed=0, load_weights=False, **shape).to(device)
    build = clock() - began
    costs = block_costs(model, **shape)
    madds = tuple(cost.madds for cost in costs)
    large = int(min(LARGE, max(2, _LARGE_MADDS // max(1, sum(madds)))))
    passes = Passes(net, optimizer=recipe.optimizer, clock=clock)
    # Of one image a batch norm has no variance.
    sides = sorted({max(2, large * SMALL // LARGE), large})
    images = {n: _noise((n, size, size, channels)).to(device).permute(0, 3, 1, 2) for n in sides}
    for count in sides:  # memory is taken and kernels are chosen in the first pass
        passes.run(images[count])
    update = passes.update()
    timed: dict[int, list[list[float]]] = {}
    started = clock()
    for number in range(_PASSES):
        if number and clock() - started > _LIMIT_S:
            break
        for count in sides:
            timed.setdefault(count, []).append(passes.run(images[count]))
    few, many = (zip(*timed[count], strict=True) for count in (sides[0], sides[-1]))
    lines = [
        through((sides[0], median(short)), (sides[-1], median(long)))
        for short, long in zip(few, many, strict=True)
    ]
    blocks = len(net.blocks)
    firsts = dict(zip(passes.starts, lines[2 + 2 * blocks :], strict=True))
    return Pace(
        madds=madds,
        pixels=lines[0],
        forward=tuple(lines[1 : 1 + blocks]),
        training=tuple(lines[1 + blocks : 1 + 2 * blocks]),
        first=tuple(firsts.get(number) for number in range(blocks)),
        head=lines[1 + 2 * blocks],
        update=update,
        build=build,
    )


def _changing(
    augment: Augment, shape: tuple[int, ...], device: torch.device, clock: Clock
) -> float:
    """Seconds per image."""
    images = _noise(shape).to(device).permute(0, 3, 1, 2)
    seeds = list(range(len(images)))
    augmented(images, augment, seeds)
    began = clock()
    augmented(images, augment, seeds)
    return (clock() - began) / len(images)


def _noise(shape: tuple[int, ...]) -> torch.Tensor:
    """Pixels. Of even ones, pools would all choose the same place, which is faster."""
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _by_work(recipes: Sequence[Recipe], *, size: int, channels: int) -> list[Recipe]:
    """One recipe of each model; the model that takes most of all work first."""
    counts = Counter(model_key(recipe.model) for recipe in recipes)
    one = {model_key(recipe.model): recipe for recipe in recipes}

    def work(key: str) -> float:
        costs = block_costs(one[key].model, size=size, channels=channels)
        return counts[key] * sum(cost.madds for cost in costs)

    return [one[key] for key in sorted(one, key=work, reverse=True)]


# --------------------------------------------------------------------------------------------------
# A process that measures


def main() -> int:
    """Reads what is to be measured, a line of JSON, then questions, and answers each by a line.

    The first line has `recipes`, `classes`, `size`, `channels` and `device`, and is answered when
    all is loaded; the others `threads` and `limit_s`, and are answered by `Speed.to_json`.
    """
    asked = json.loads(sys.stdin.readline())
    asked["recipes"] = from_json(asked["recipes"])
    _by_work(asked["recipes"], size=asked["size"], channels=asked["channels"])
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(**asked, **json.loads(line)).to_json()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
