"""Laws that every row of the table must hold."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from xfer.models.assembly import assemble, describe
from xfer.models.backbone import build_backbone, fill, random_state
from xfer.models.net import Net
from xfer.models.table import NOT_BUILT_YET, TABLE
from xfer.models.weights import preprocessing
from xfer.recipe import Pretrained, Recipe

SIZE = 64
every_row = pytest.mark.parametrize("name", TABLE)


def net_of(
    name: str, depth: int, *, batch_norm="inference", seed: int = 0, channels: int = 3
) -> Net:
    model = Pretrained(name, unfreeze_depth=depth, batch_norm=batch_norm, weights="none")
    recipe = Recipe(model=model, lr=1e-3)
    return assemble(recipe, classes=2, size=SIZE, channels=channels, seed=seed)


def pictures(count: int = 2, *, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, SIZE, SIZE), generator=generator).byte()


def without_trivial_statistics(net: nn.Module) -> None:
    """Batch norms that do nothing would hide that they are skipped or applied twice."""
    generator = torch.Generator().manual_seed(1)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)


def pooled_features_of_torchvision(model: nn.Module, images: Tensor) -> Tensor:
    """What goes into torchvision's own classifier: caught by a hook on its first layer."""
    caught = []
    last = model.get_submodule("fc" if hasattr(model, "fc") else "classifier.0")
    handle = last.register_forward_pre_hook(lambda _, args: caught.append(args[0].clone()))
    model(images)
    handle.remove()
    return caught[0]


@every_row
def test_the_blocks_one_after_another_are_torchvisions_own_features(name):
    theirs = get_model(name, weights=None).eval()
    without_trivial_statistics(theirs)
    with torch.device("meta"):
        ours, blocks = build_backbone(name)
    fill(ours, theirs.state_dict())
    ours.eval()
    values = images = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        for block in blocks:
            values = block.module(values)
        wanted = pooled_features_of_torchvision(theirs, images)
    if wanted.ndim == 2:  # torchvision pools before its classifier
        values = nn.functional.adaptive_avg_pool2d(values, 1).flatten(1)
    assert values.abs().max() > 0
    assert torch.equal(values, wanted)


@every_row
def test_every_parameter_and_buffer_is_in_exactly_one_block(name):
    with torch.device("meta"):
        backbone, blocks = build_backbone(name)
    for kind in ("named_parameters", "named_buffers"):
        owned = [f"{b.name}.{key}" for b in blocks for key, _ in getattr(b.module, kind)()]
        assert sorted(owned) == sorted(key for key, _ in getattr(backbone, kind)())


@every_row
def test_every_buffer_is_in_the_state_so_that_a_filled_backbone_is_complete(name):
    with torch.device("meta"):
        backbone, _ = build_backbone(name)
    assert {key for key, _ in backbone.named_buffers()} <= set(backbone.state_dict())


@every_row
def test_no_block_writes_on_its_input(name):
    backbone, blocks = build_backbone(name)
    backbone.train()
    values = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        for block in blocks:
            before = values.clone()
            after = block.module(values)
            assert torch.equal(values, before), block.name
            values = after


@every_row
def test_each_later_stage_works_at_one_resolution_half_of_the_stage_before(name):
    with torch.device("meta"):
        _, blocks = build_backbone(name)
        values, sides = torch.empty(1, 3, 256, 256), {}
        for block in blocks:
            values = block.module(values)
            if "Pool" not in type(block.module).__name__:  # a pool at a stage's end is no work
                sides[block.name] = values.shape[-1]
    worked = [{sides[b] for b in stage if b in sides} for stage in TABLE[name].stages]
    last = [min(worked[0])]
    for at in worked[1:]:
        assert len(at) == 1, worked
        last.append(min(at))
    for before, after in pairwise(last):
        assert before / 2 - 1 <= after <= before / 2, worked


@every_row
def test_the_smallest_size_is_torchvisions_and_works(name):
    row = TABLE[name]
    least = get_model_weights(name)[row.weights].meta["min_size"][0]
    assert row.min_size == least
    model = Recipe(model=Pretrained(name, unfreeze_depth=4), lr=1e-3)
    assert describe(model, classes=2, size=max(8, row.min_size), channels=3).trainable > 0


@every_row
def test_a_row_and_a_name_that_is_to_come_are_torchvisions(name):
    assert name in list_models()
    assert name not in NOT_BUILT_YET
    assert set(list_models()) >= NOT_BUILT_YET


@every_row
def test_depth_zero_trains_the_head_alone_each_depth_more_and_four_all(name):
    trained = []
    for depth in range(5):
        net = net_of(name, depth)
        trained.append({key for key, p in net.named_parameters() if p.requires_grad})
    everything = {key for key, _ in net.named_parameters()}
    assert trained[0] == {key for key in everything if key.startswith("head.")}
    for less, more in pairwise(trained):
        assert less < more
    assert trained[4] == everything


@every_row
def test_the_outputs_do_not_depend_on_where_the_net_is_cut(name):
    images = pictures()
    nets = [net_of(name, depth).eval() for depth in range(5)]
    for net in nets:
        without_trivial_statistics(net)
    whole = nets[4](images)
    assert whole.abs().max() > 0
    for net in nets:
        assert torch.equal(net.suffix(net.prefix(images)), whole)


@every_row
def test_the_prefix_is_the_same_in_training_and_asks_for_no_gradient(name):
    images = pictures()
    for depth in range(5):
        net = net_of(name, depth)
        without_trivial_statistics(net)
        in_training = net.train().prefix(images)
        assert not in_training.requires_grad
        assert torch.equal(in_training, net.eval().prefix(images))


@every_row
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("batch_norm", ["inference", "train"])
def test_what_is_frozen_stays_bit_for_bit_and_what_is_trained_moves(name, depth, batch_norm):
    net = net_of(name, depth, batch_norm=batch_norm)
    without_trivial_statistics(net)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    for step in range(2):
        net.train()
        loss = nn.functional.cross_entropy(net(pictures(4, seed=step)), torch.tensor([0, 1, 0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    trained = {key for key, p in net.named_parameters() if p.requires_grad}
    with_gradient = {key for key, p in net.named_parameters() if p.grad is not None}
    assert with_gradient == trained
    updated_norms = {
        f"backbone.{block.name}.{key}"
        for block in net.blocks[net.prefix_blocks :]
        for key, _ in block.module.named_buffers()
        if batch_norm == "train"
    }
    after = net.state_dict()
    frozen = set(before) - trained - updated_norms
    assert {key for key in frozen if not torch.equal(before[key], after[key])} == set()
    moved = {key for key in trained | updated_norms if not torch.equal(before[key], after[key])}
    assert "head.outputs.weight" in moved
    assert updated_norms <= moved
    if depth:
        assert any(key.startswith("backbone.") for key in moved & trained)


@every_row
def test_pixels_are_normalised_bit_for_bit_as_the_weights_were_trained(name):
    transforms = get_model_weights(name)[TABLE[name].weights].transforms()
    size = transforms.crop_size[0]
    transforms.resize_size = transforms.crop_size  # a square of this size is not resized
    image = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
    normalise = net_of(name, 0).normalise
    assert torch.equal(normalise(image), transforms(image))
    assert torch.equal(normalise(image.float() / 255), transforms(image))
    assert preprocessing(name).interpolation == "bilinear"


@every_row
def test_gray_images_give_what_the_same_gray_in_three_channels_gives(name):
    gray = pictures(channels=1)
    net = net_of(name, 1, channels=1).eval()
    assert torch.equal(net(gray), net(gray.expand(-1, 3, -1, -1)))


@every_row
def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = random_state(name, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    again, other = random_state(name, seed=5), random_state(name, seed=6)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
