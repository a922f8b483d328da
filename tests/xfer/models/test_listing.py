"""`python -m xfer.models`: what it lists is what recipes may say, and what it counts is so."""

import os
import subprocess
import sys
from functools import cache
from itertools import islice
from math import prod

import pytest
import torch
from torchvision.models import get_model_weights

from xfer.errors import RecipeError
from xfer.models.__main__ import inside, main, table
from xfer.models.backbone import build_backbone
from xfer.models.cut import build_cut_backbone, nodes
from xfer.models.described import describe
from xfer.models.listing import cuttable, summary, trainable, weights_bytes
from xfer.models.table import TABLE
from xfer.models.thaw import thaw
from xfer.models.weights import weights_file
from xfer.recipe import Pretrained, Recipe

KINDS = ("squeezenet1_1", "swin_t", "vit_b_16")
"""A plain one; channels last; tokens."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine without weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def size_of(name: str) -> int:
    return TABLE[name].nearest_size(32)


# --------------------------------------------------------------------------------------------------
# Costs


@pytest.mark.parametrize("name", KINDS)
def test_features_are_those_that_a_recipe_of_that_depth_hands_over(name):
    size = size_of(name)
    for depth, count in zip((3, 2, 1, 0), summary(name, size=size).features, strict=True):
        recipe = Recipe(model=Pretrained(name, unfreeze_depth=depth), lr=1e-3)
        features = describe(recipe, classes=2, size=size, channels=3).features
        assert count == prod(features) * torch.float32.itemsize


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_costs_and_torchvisions_classifier_are_what_torchvision_publishes(name):
    costs, published = summary(name, size=224), get_model_weights(name)[TABLE[name].weights].meta
    values = costs.features[3] // torch.float32.itemsize
    classifier = values * 1000
    assert costs.parameters + classifier + 1000 == published["num_params"]
    assert (costs.madds + classifier) / 1e9 == pytest.approx(published["_ops"], abs=6e-4)


@pytest.mark.parametrize(
    ("name", "measured"), [("squeezenet1_1", 4_962_639), ("mobilenet_v2", 14_267_531)]
)
def test_the_size_of_weights_is_the_files_within_a_thousandth(name, measured):
    assert weights_bytes(name) == pytest.approx(measured, rel=1e-3)


# --------------------------------------------------------------------------------------------------
# Names


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_every_name_listed_for_training_trains_as_many_parameters_as_it_says(name):
    with torch.device("meta"):
        backbone, blocks = build_backbone(name, size=size_of(name))
    names = trainable(name, size=size_of(name))
    assert len(names) > len(list(backbone.parameters()))
    for module, count in names:
        thaw(Pretrained(name, train=(module,)), backbone, blocks)
        assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == count


@cache
def listed(name: str) -> dict[str, tuple[int, ...]]:
    places = cuttable(name, size=size_of(name))
    assert len(places) == len(dict(places))
    return dict(places)


def cut(name: str, node: str) -> tuple[int, ...] | None:
    """Shape of what a head gets of an image; None: the cut is refused."""
    size = size_of(name)
    with torch.device("meta"), torch.no_grad():
        try:
            _, blocks, _ = build_cut_backbone(name, size=size, cut_after=node)
        except RecipeError:
            return None
        values = torch.empty(1, 3, size, size)
        for block in blocks:
            values = block.module.eval()(values)
    return tuple(values.shape[1:])


NODES = {
    "a map": ("squeezenet1_1", "features.3.squeeze"),
    "two maps joined": ("squeezenet1_1", "features.3.cat"),
    "a map with its channels last": ("swin_t", "features.1.0.attn.shifted_window_attention"),
    "a parameter": ("swin_t", "features.1.0.attn.attn_qkv_weight"),
    "tokens": ("vit_b_16", "encoder.layers.encoder_layer_0.getitem"),
    "two values": ("vit_b_16", "encoder.layers.encoder_layer_0.self_attention"),
}


@pytest.mark.parametrize(("name", "node"), NODES.values(), ids=NODES)
def test_a_node_is_listed_if_and_only_if_a_cut_accepts_it(name, node):
    with torch.device("meta"):
        _, blocks = build_backbone(name, size=size_of(name))
    assert node in nodes(next(b for b in blocks if node.startswith(f"{b.name}.")))
    assert listed(name).get(node) == cut(name, node)


def test_a_transformers_patches_without_their_class_token_are_not_listed():
    assert "embedding.add" in listed("vit_b_16")
    assert "embedding.transpose" not in listed("vit_b_16")


@pytest.mark.parametrize("name", KINDS)
def test_every_block_and_every_module_that_holds_blocks_is_listed_where_it_ends(name):
    blocks, places = TABLE[name].blocks, listed(name)
    assert [node for node in places if node in blocks] == list(blocks)
    order = list(places)
    for block in blocks:
        for depth in range(1, block.count(".") + 1):
            holder = block.rsplit(".", maxsplit=depth)[0]
            last = [b for b in blocks if b.startswith(f"{holder}.")][-1]
            assert places[holder] == places[last]
            between = order[order.index(last) + 1 : order.index(holder)]
            assert all(inner.startswith(f"{holder}.") for inner in between)


# --------------------------------------------------------------------------------------------------
# The command


def test_the_table_says_what_a_backbone_costs_in_a_line_that_fits_the_screen(home):
    *legend, row = table(["resnet50"], 224)
    assert row.split()[:7] == ["resnet50", "23.51", "4.09", "3.2M", "1.6M", "803k", "8.2k"]
    assert row.split()[7:] == ["fetch", "103", "resnet50-0676ba61.pth"]
    assert max(map(len, [*legend, row])) <= 100


def test_weights_at_hand_are_told_from_those_to_fetch(home):
    assert "fetch" in list(table(["resnet18"], 32))[-1].split()
    file = home / "hub" / "checkpoints" / TABLE["resnet18"].file
    about = list(islice(inside("resnet18", 32), 6))
    assert about[3:] == [
        "weights IMAGENET1K_V1, 47 MB, to fetch",
        f"  from {weights_file('resnet18').url}",
        f"  to {file}",
    ]
    file.parent.mkdir(parents=True)
    file.touch()
    assert "here" in list(table(["resnet18"], 32))[-1].split()
    about = list(islice(inside("resnet18", 32), 5))
    assert about[3:] == ["weights IMAGENET1K_V1, 47 MB, here", f"  in {file}"]


def test_rows_come_as_they_are_computed():
    lines = table(iter(["resnet18", "no backbone"]), 32)
    assert next(line for line in lines if line.startswith("resnet18"))
    with pytest.raises(KeyError):
        next(lines)


def test_a_size_that_a_backbone_does_not_take_is_replaced_by_the_nearest_and_it_is_said():
    resnet, vit = list(table(["resnet18", "vit_b_16"], 41))[-2:]
    assert "(at" not in resnet
    assert vit.endswith("(at 48 x 48)")
    assert vit.split()[:7] == list(table(["vit_b_16"], 48))[-1].split()[:7]
    assert next(inside("vit_b_16", 41)) == (
        "vit_b_16, images of 48 x 48 pixels (41 does not fit; this is the nearest that does)"
    )


def test_a_backbone_is_listed_a_line_per_name(capsys):
    assert main(["squeezenet1_1", "--size", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "stage1 features.0  64 x 15 x 15         1,792       388,800" in lines
    assert lines[0] == "squeezenet1_1, images of 32 x 32 pixels"
    assert "takes images of at least 17 x 17 pixels" in lines
    named = [line.split() for line in lines]
    modules, places = (
        [words[1] for words in named if words[:1] == [kind]] for kind in ("train", "node")
    )
    assert modules == [module for module, _ in trainable("squeezenet1_1", size=32)]
    assert places == list(listed("squeezenet1_1"))
    assert ["train", "features.3.squeeze", "1,040"] in named
    assert ["node", "features.3.cat", "128", "x", "7", "x", "7"] in named


def test_several_backbones_are_listed_in_turn_and_each_once(capsys):
    assert main(["vgg16", "squeezenet1_1", "vgg16", "--size", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if ", images of" in line] == [
        "vgg16",
        "squeezenet1_1",
    ]


def test_wrong_names_are_told_together_with_what_was_meant_and_nothing_is_listed(capsys):
    assert main(["resnet-18", "resnet18", "vgg"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "'resnet-18' is not a backbone; did you mean 'resnet18'?" in said.err
    assert "'vgg' is not a backbone; did you mean 'vgg16'?" in said.err


@pytest.mark.parametrize("size", ["7", "5000", "2.5", "big"])
def test_a_size_that_no_images_have_is_refused(size, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--size", size])
    assert exit_.value.code == 2
    assert f"must be a whole number in [8, 4096], got {size!r}" in capsys.readouterr().err


def test_help_and_wrong_names_need_no_torch():
    code = (
        "import sys\n"
        "from xfer.models.__main__ import main\n"
        "assert main(['resnet-18']) == 2\n"
        "try: main(['--help'])\n"
        "except SystemExit as exit_: assert exit_.code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "grep ^node" in said.stdout


def test_a_reader_who_has_seen_enough_is_no_error(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert main(["squeezenet1_1", "--size", "32"]) == 0
