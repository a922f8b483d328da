"""Which lines say what is tried? Backbones, known configurations and `space` itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from search.new.choices import Choices
from search.new.lines import comment, literal


def backbone_lines(choices: Choices) -> Iterator[str]:
    """`BACKBONES`, with what is not here and how much there is to fetch."""
    text = "Networks that have learnt to see on a million photos (ImageNet)."
    if choices.fetched:
        text += f" Fetched once, when the search starts: {_with_sizes(choices.fetched)}."
    else:
        text += " These are on this machine."
    if choices.offered:
        text += (
            f" Others that are worth a try, not here yet: {_with_sizes(choices.offered)}; write"
            " their names into the list and they are fetched. `python -m xfer.models` lists all."
        )
    yield from comment(text)
    yield from _list("BACKBONES", choices.backbones)


def augment_lines() -> Iterator[str]:
    """`AUGMENTS`."""
    yield from comment(
        "Training images may be changed a little, anew in every epoch: turned, moved, brighter or"
        " darker; such trials take longer. Nothing is mirrored, for in X-rays, text and digits left"
        " is not right. Where a mirror image of yours could be a real one, add"
    )
    yield '#     "mirrored": Augment("fresh", flip_horizontal=True, rotation=10, zoom=0.1),'
    yield 'AUGMENTS = {"none": Augment(), "light": Augment.light()}'


def known_lines(choices: Choices) -> Iterator[str]:
    """`PLAIN` and `KNOWN`."""
    yield from comment(
        "Middle values of all that every network is asked for below; the known configurations"
        " begin from them."
    )
    yield "PLAIN = {"
    yield '    "dense": 0,'
    yield '    "dropout": 0.2,'
    yield '    "lr": 1e-3,'
    yield '    "schedule": "constant",'
    if len(choices.batches) > 1:
        yield f'    "batch_size": {choices.batches[-1]},'
    yield '    "l2": 1e-5,'
    yield '    "augment": "none",'
    if choices.unequal:
        yield '    "balance": "none",'
    yield "}"
    yield ""
    first = choices.backbones[0]
    yield from comment(
        "Configurations that are tried first, as they stand; the search goes on from what they"
        " reach. A frozen backbone is quick and often good: only a last layer is trained on it."
    )
    yield "KNOWN = {"
    yield from _entry(f"{first} frozen", {"model": literal(first), "unfreeze_depth": "0"})
    yield from _entry(
        f"{first} last stage",
        {"model": literal(first), "unfreeze_depth": "1", "lr_factor": "0.1"},
    )
    yield from _entry(
        "three convolutions",
        {"model": '"convnet"', "convnet/kernels": "16", "convnet/depth": "3"},
    )
    yield "}"


def space_lines(choices: Choices) -> Iterator[str]:
    """`space`, and the two kinds of network it takes."""
    yield "def space(trial: Trial) -> Recipe:"
    yield '    """One configuration; each `suggest` names a choice and what there is to choose."""'
    yield '    name = trial.suggest_categorical("model", [*BACKBONES, "convnet"])'
    yield '    model = convnet(trial) if name == "convnet" else backbone(trial, name)'
    yield from comment(
        "A layer between what the network sees and the answer; 0 leaves it out.", indent=4
    )
    yield '    dense = trial.suggest_categorical("dense", [0, 64, 256])'
    yield "    return Recipe("
    yield "        model=model,"
    yield "        head=Head("
    yield "            dense=(dense,) if dense else (),"
    yield from comment("Share of the values that is left out at random in training.", indent=12)
    yield '            dropout=trial.suggest_float("dropout", 0.0, 0.5),'
    yield "        ),"
    yield from comment("Length of a step; log=True tries 0.001 as often as 0.01.", indent=8)
    yield '        lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True),'
    schedules = '["constant", "cosine"]'
    yield f'        schedule=Schedule(trial.suggest_categorical("schedule", {schedules})),'
    if len(choices.batches) > 1:
        sizes = ", ".join(map(str, choices.batches))
        yield f'        batch_size=trial.suggest_categorical("batch_size", [{sizes}]),'
    else:
        yield f"        batch_size={max(choices.batches)},  # there are few images"
    yield "        early_stopping=5,  # epochs without a better score, after which a trial ends"
    yield "        clip_norm=1.0,  # no step is longer than that: small networks burst without"
    yield "        # Draws all weights towards 0, against learning images by heart."
    yield '        l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True),'
    yield '        augment=AUGMENTS[trial.suggest_categorical("augment", list(AUGMENTS))],'
    yield from _balance(choices)
    yield "    )"
    yield ""
    yield ""
    yield from _backbone(choices)
    yield ""
    yield ""
    yield from _CONVNET


def _balance(choices: Choices) -> Iterator[str]:
    least, most = min(choices.counts), max(choices.counts)
    if not choices.unequal:
        count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        yield from comment(
            f"Classes are about as large as each other ({count} images): nothing is done about it.",
            indent=8,
        )
        return
    yield from comment(
        f"Classes are of unequal size ({least:,} to {most:,} images): leave it so, let a rare"
        " class's images count more, or show them more often.",
        indent=8,
    )
    ways = '["none", "class_weights", "oversample"]'
    yield f'        balance=trial.suggest_categorical("balance", {ways}),'


def _backbone(choices: Choices) -> Iterator[str]:
    yield "def backbone(trial: Trial, name: str) -> Pretrained:"
    yield '    """A network that can see already: frozen, or in part trained further."""'
    few = (
        " Few images are soon known by heart, so no more than the last two are tried."
        if choices.depth < 4
        else ""
    )
    yield from comment(
        "Stages that are trained, of four, counted from the answer; 0 trains the answer alone."
        + few,
        indent=4,
    )
    yield f'    depth = trial.suggest_int("unfreeze_depth", 0, {choices.depth})'
    yield "    if depth == 0:"
    yield "        return Pretrained(name)"
    yield from comment(
        "Asked only where something of it is trained: its steps, as a share of lr. Small ones keep"
        " what it knows.",
        indent=4,
    )
    yield '    lr_factor = trial.suggest_float("lr_factor", 0.01, 1.0, log=True)'
    yield "    return Pretrained(name, unfreeze_depth=depth, lr_factor=lr_factor)"


_CONVNET = '''\
def convnet(trial: Trial) -> ConvNet:
    """A small network that learns from these images alone."""
    kernels = trial.suggest_categorical("convnet/kernels", [8, 16, 32])
    depth = trial.suggest_int("convnet/depth", 2, 4)
    return ConvNet(
        kernels=tuple(kernels * 2**layer for layer in range(depth)),  # 16, 32, 64, ...
        batch_norm=True,
    )
'''.splitlines()


def _entry(name: str, values: dict[str, str]) -> Iterator[str]:
    yield f"    {literal(name)}: {{"
    for key, value in values.items():
        yield f"        {literal(key)}: {value},"
    yield "        **PLAIN,"
    yield "    },"


def _list(name: str, values: Sequence[str]) -> Iterator[str]:
    """In one line where it fits, as a formatter has it."""
    line = f"{name} = [{', '.join(map(literal, values))}]"
    if len(line) <= 100:
        yield line
        return
    yield f"{name} = ["
    yield from (f"    {literal(value)}," for value in values)
    yield "]"


def _with_sizes(names: Sequence[str]) -> str:
    from xfer.models.listing import weights_bytes

    return ", ".join(f"{name} ({weights_bytes(name) / 1e6:.0f} MB)" for name in names)
