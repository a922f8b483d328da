"""Laws that every row of the table must hold: names, stages, sizes; nothing is computed."""

import re
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights, list_models
from torchvision.models.vision_transformer import interpolate_embeddings

from xfer.models.adapters import fitted, torchvision_key
from xfer.models.backbone import build_backbone, classifier_shapes, random_state
from xfer.models.net import Block, Normalise
from xfer.models.table import TABLE
from xfer.models.thaw import thaw
from xfer.models.weights import preprocessing, read_weights, weights_file
from xfer.recipe import Pretrained

every_row = pytest.mark.parametrize("name", TABLE)


@cache
def on_meta(name: str) -> tuple[nn.Module, tuple[Block, ...]]:
    with torch.device("meta"):
        return build_backbone(name, size=256)


def maps(name: str, size: int) -> dict[str, torch.Size]:
    """Shape of each block's output."""
    _, blocks = on_meta(name)
    found = {}
    with torch.device("meta"), torch.no_grad():
        if TABLE[name].tokens:  # its positions are made for one size
            _, blocks = build_backbone(name, size=size)
        values = torch.empty(1, 3, size, size)
        for block in blocks:
            values = block.module.eval()(values)
            found[block.name] = values.shape
    return found


@every_row
def test_a_row_is_what_torchvision_says(name):
    row = TABLE[name]
    assert name in list_models()
    weights = get_model_weights(name)[row.weights]
    assert row.file == weights.url.rsplit("/", maxsplit=1)[-1]
    assert row.interpolation == weights.transforms().interpolation.value
    assert row.interpolation == preprocessing(name).interpolation


@every_row
def test_blocks_are_the_tables_in_order_and_know_their_stage(name):
    _, blocks = on_meta(name)
    stages = enumerate(TABLE[name].stages, start=1)
    wanted = [(block, f"stage{number}") for number, stage in stages for block in stage]
    assert [(block.name, block.part) for block in blocks] == wanted


@every_row
def test_every_parameter_and_buffer_is_in_exactly_one_block(name):
    backbone, blocks = on_meta(name)
    for kind in ("parameters", "buffers"):
        owned = [id(value) for block in blocks for value in getattr(block.module, kind)()]
        assert len(owned) == len(set(owned))
        assert set(owned) == {id(value) for value in getattr(backbone, kind)()}


@every_row
def test_of_torchvisions_values_only_the_classifiers_are_left_out(name):
    backbone, _ = on_meta(name)
    ours = {torchvision_key(key) for key in backbone.state_dict()}
    theirs = set(classifier_shapes(name))
    assert ours <= theirs
    left_out = {key.split(".")[0] for key in theirs - ours}
    assert left_out <= {"fc", "classifier", "head", "heads", "AuxLogits"}


@every_row
def test_every_buffer_is_in_the_state_so_that_a_filled_backbone_is_complete(name):
    backbone, _ = on_meta(name)
    assert {key for key, _ in backbone.named_buffers()} <= set(backbone.state_dict())


@every_row
def test_each_later_stage_works_at_one_resolution_half_of_the_stage_before(name):
    row, shapes = TABLE[name], maps(name, 256)
    if row.tokens:  # one resolution throughout
        assert {shape[1] for shape in shapes.values()} == {row.tokens + (256 // row.multiple) ** 2}
        return
    sides = {block: shape[2] for block, shape in shapes.items()}  # 2: channels first or last
    pools = {b.name for b in on_meta(name)[1] if "Pool" in type(b.module).__name__}
    worked = [[sides[b] for b in stage if b not in pools] for stage in row.stages]
    left = [sides[stage[-1]] for stage in row.stages]  # by the pool, where a stage ends in one
    for stage, at in zip(row.stages[1:], worked[1:], strict=True):
        assert stage[0] not in pools
        assert len(set(at)) == 1, worked
    for number, (before, after) in enumerate(pairwise(worked)):
        assert any(side / 2 - 1 <= after[0] <= side / 2 for side in (before[-1], left[number]))


@every_row
def test_the_smallest_size_works_and_one_below_does_not(name):
    row = TABLE[name]
    assert row.min_size <= get_model_weights(name)[row.weights].meta["min_size"][0]
    assert row.nearest_size(row.min_size) == row.min_size
    assert all(0 not in shape for shape in maps(name, row.min_size).values())
    below = row.min_size - row.multiple
    if below:
        with pytest.raises(RuntimeError):
            maps(name, below)


@every_row
def test_depth_zero_trains_the_head_alone_each_depth_more_and_four_all(name):
    backbone, blocks = on_meta(name)
    trained = []
    for depth in range(5):
        thaw(Pretrained(name, unfreeze_depth=depth), backbone, blocks)
        trained.append({key for key, p in backbone.named_parameters() if p.requires_grad})
        parts = {b.part for b in blocks if any(p.requires_grad for p in b.module.parameters())}
        assert parts == {f"stage{number}" for number in range(5 - depth, 5)}
    assert trained[0] == set()
    for less, more in pairwise(trained):
        assert less < more
    assert trained[4] == {key for key, _ in backbone.named_parameters()}


@every_row
def test_pixels_are_normalised_bit_for_bit_as_the_weights_were_trained(name):
    transforms = get_model_weights(name)[TABLE[name].weights].transforms()
    size = transforms.crop_size[0]
    transforms.resize_size = transforms.crop_size  # a square of this size is not resized
    image = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
    normalise = Normalise(preprocessing(name).mean, preprocessing(name).std)
    assert torch.equal(normalise(image), transforms(image))
    assert torch.equal(normalise(image.float() / 255), transforms(image))
    gray = image[:, :1]
    assert torch.equal(normalise(gray), transforms(gray.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("name", ["resnet18", "regnet_y_400mf"])
def test_a_backbone_without_values_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    with torch.device("meta"):
        build_backbone(name, size=64)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["squeezenet1_1", "inception_v3", "regnet_y_400mf"])
def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = random_state(name, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    again, other = random_state(name, seed=5), random_state(name, seed=6)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("size", [16, 96, 224, 384])
def test_position_embeddings_are_interpolated_as_torchvision_does(size):
    state = {"encoder.pos_embedding": torch.rand(1, 197, 8)}
    wanted = interpolate_embeddings(size, 16, {**state})["encoder.pos_embedding"]
    found = fitted(state, "encoder.pos_embedding", wanted.shape)
    assert found.shape == (1, 1 + (size // 16) ** 2, 8)
    assert torch.equal(found, wanted)
    assert torch.equal(found, state["encoder.pos_embedding"]) == (size == 224)


@pytest.mark.parametrize(
    ("name", "today", "once"),
    [
        ("densenet121", r"(denselayer\d+\.(norm|conv))([12])", r"\1.\3"),
        ("vit_b_16", r"mlp\.0", "mlp.linear_1"),
        ("vit_b_16", r"mlp\.3", "mlp.linear_2"),
    ],
)
def test_files_that_are_older_than_torchvisions_names_are_read(
    tmp_path, monkeypatch, name, today, once
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    value = torch.zeros(())  # takes no room, however often it is repeated
    state = {key: value.expand(shape) for key, shape in classifier_shapes(name).items()}
    older = {re.sub(today, once, key): values for key, values in state.items()}
    assert older.keys() != state.keys()
    path = weights_file(name).path
    path.parent.mkdir(parents=True)
    torch.save(older, path)
    assert read_weights(name).keys() == state.keys()
