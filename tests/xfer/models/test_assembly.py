import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from xfer.errors import RecipeError
from xfer.models.assembly import assemble
from xfer.models.described import describe
from xfer.models.net import Net
from xfer.recipe import ConvNet, Head, Pretrained, Recipe

SMALL = ConvNet(kernels=(4, 8), batch_norm=True, dropout=0.2)
RECIPES = {
    "convnet, average": Recipe(model=SMALL, lr=1e-3),
    "convnet, flatten": Recipe(model=SMALL, lr=1e-3, head=Head(pool="flatten", dense=(16,))),
    "frozen": Recipe(model=Pretrained("mobilenet_v2", weights="none"), lr=1e-3),
    "frozen, flatten": Recipe(
        model=Pretrained("squeezenet1_1", weights="none"),
        lr=1e-3,
        head=Head(pool="flatten", dense=(8, 4), activation="gelu", dropout=0.3),
    ),
    "thawed": Recipe(model=Pretrained("resnet18", unfreeze_depth=2, weights="none"), lr=1e-3),
    "positional": Recipe(
        model=Pretrained("resnet18", weights="none"),
        lr=1e-3,
        head=Head(pool="positional", dense=(6, 5), dropout=(0.0, 0.2, 0.2)),
    ),
    "cut inside a block, trained in the middle": Recipe(
        model=Pretrained(
            "mobilenet_v2",
            weights="none",
            cut_after="features.6.conv.1",
            train=("features.4.conv.1", "features.5.conv.2.weight"),
            batch_norm="train",
        ),
        lr=1e-3,
        head=Head(pool="both"),
    ),
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def build(recipe: Recipe, *, classes=3, size=32, channels=3, seed=0):
    return assemble(recipe, classes=classes, size=size, channels=channels, seed=seed)


def images(count=4, *, channels=3, size=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), generator=generator).byte()


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@every_recipe
@pytest.mark.parametrize("channels", [1, 3])
def test_images_become_one_logit_per_class(recipe, channels):
    logits = build(recipe, channels=channels)(images(channels=channels))
    assert logits.shape == (4, 3)
    assert logits.isfinite().all()
    assert logits.std(dim=0).max() > 0  # the images matter


@every_recipe
def test_the_same_seed_gives_the_same_net_whatever_was_drawn_before(recipe):
    torch.manual_seed(1)
    first = build(recipe, seed=7)
    torch.rand(5)
    before = torch.get_rng_state()
    assert same(first, build(recipe, seed=7))
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(first, build(recipe, seed=8))


def test_the_same_seed_gives_these_numbers_on_every_machine():
    net = build(Recipe(model=ConvNet(kernels=(1,), kernel_size=1), lr=1e-3), channels=1, seed=0)
    bound = 6**0.5  # of one input per output
    drawn = torch.rand(4, generator=torch.Generator().manual_seed(0)).tolist()
    assert drawn == pytest.approx([0.4962566, 0.7682218, 0.0884774, 0.1320305], abs=1e-7)
    head = [(2 * u - 1) * 0.01 * 3**0.5 for u in drawn[:3]]
    assert net.head.outputs.weight.flatten().tolist() == pytest.approx(head, rel=1e-5)
    assert net.backbone.conv1.conv.weight.item() == pytest.approx((2 * drawn[3] - 1) * bound)


@every_recipe
def test_a_state_survives_the_way_into_another_net(recipe):
    source, target = build(recipe, seed=1), build(recipe, seed=2)
    target.load_state_dict(source.state_dict())
    assert same(source, target)
    assert torch.equal(source.eval()(images()), target.eval()(images()))


@every_recipe
def test_a_copy_is_frozen_alike_and_shares_nothing(recipe):
    net = build(recipe)
    twin = copy.deepcopy(net)
    assert {k for k, p in twin.named_parameters() if p.requires_grad} == {
        k for k, p in net.named_parameters() if p.requires_grad
    }
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert twin.eval()(images()).abs().max() == 0
    assert net.eval()(images()).abs().max() > 0
    norms = [m for m in twin.train().modules() if isinstance(m, nn.BatchNorm2d)]
    wanted = [m.training for m in net.train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.training for m in norms] == wanted


@every_recipe
def test_channels_last_images_give_the_same_logits(recipe):
    net = build(recipe).eval()
    last = net(images().to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, net(images()), rtol=1e-4, atol=1e-5)


@every_recipe
def test_described_is_what_is_built(recipe):
    net = build(recipe)
    described = describe(recipe, classes=3, size=32, channels=3)
    assert described.parameters == sum(p.numel() for p in net.parameters())
    assert described.trainable == sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert described.features == tuple(net.prefix(images()).shape[1:])


@every_recipe
def test_multiply_adds_are_those_of_hooks_on_every_layer(recipe):
    net, counted = build(recipe).eval(), {"all": 0}

    def count(layer, args, out):
        positions = out[0, 0].numel() if out.ndim == 4 else 1
        counted["all"] += layer.weight.numel() * positions

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    features = net.prefix(images(1))
    prefix = counted["all"]
    net.suffix(features)
    described = describe(recipe, classes=3, size=32, channels=3)
    assert described.prefix_madds == prefix
    assert described.suffix_madds == counted["all"] - prefix


def test_described_backbones_have_torchvisions_published_counts():
    # resnet18: 11,689,512 parameters, 1.814 billion multiply-adds at 224, of which 513,000 and
    # .0005 billion are the classifier's; ours has 1,026 parameters.
    recipe = Recipe(model=Pretrained("resnet18"), lr=1e-3)
    described = describe(recipe, classes=2, size=224, channels=3)
    assert described.parameters == 11_689_512 - 513_000 + 1_026
    assert described.prefix_madds / 1e9 == pytest.approx(1.814, abs=1e-3)
    assert described.features == (512,)


def test_an_enormous_net_is_described_without_memory():
    model = ConvNet(kernels=(65_536,), pool_after=())
    recipe = Recipe(model=model, lr=1e-3, head=Head(pool="flatten", dense=(65_536,)))
    assert describe(recipe, classes=2, size=4096, channels=3).parameters > 7e16


def thawed(depth: int, **options) -> Net:
    model = Pretrained("resnet18", unfreeze_depth=depth, weights="none", **options)
    return build(Recipe(model=model, lr=1e-3))


@pytest.mark.parametrize("depth", range(5))
def test_parts_hold_every_trained_parameter_once_under_its_name(depth):
    net = thawed(depth)
    parts = net.parts()
    assert [part.name for part in parts] == [f"stage{n}" for n in range(5 - depth, 5)] + ["head"]
    found = {name: p for part in parts for name, p in part.parameters.items()}
    assert len(found) == sum(len(part.parameters) for part in parts)
    assert {k: id(p) for k, p in found.items()} == {
        name: id(p) for name, p in net.named_parameters() if p.requires_grad
    }


def test_the_rate_decays_from_stage_to_stage_towards_the_input():
    parts = thawed(3, lr_factor=0.5, lr_decay=0.1).parts()
    factors = {part.name: part.lr_factor for part in parts}
    assert factors == pytest.approx({"stage2": 0.005, "stage3": 0.05, "stage4": 0.5, "head": 1})
    cut = thawed(4, lr_factor=0.5, lr_decay=0.1, cut_after="layer2.0").parts()
    factors = {part.name: part.lr_factor for part in cut}
    assert factors == pytest.approx({"stage1": 0.05, "stage2": 0.5, "head": 1})


@pytest.mark.parametrize("batch_norm", ["train", "inference"])
def test_the_head_alone_is_a_phase_of_the_same_net(batch_norm):
    net, frozen = thawed(2, batch_norm=batch_norm), thawed(0)
    changing = net.changing()
    whole = net.eval()(images())
    net.head_only(True)
    net.train()
    assert {n for n, p in net.named_parameters() if p.requires_grad} == set(
        frozen.parts()[-1].parameters
    )
    assert net.prefix_blocks == frozen.prefix_blocks == len(net.blocks)
    assert not any(m.training for m in net.backbone.modules() if isinstance(m, nn.BatchNorm2d))
    assert net.changing().keys() == changing.keys()
    assert torch.equal(net(images()), whole)
    net.head_only(False)
    assert net.prefix_blocks == thawed(2).prefix_blocks
    norms = [m.training for m in net.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [
        m.training
        for m in thawed(2, batch_norm=batch_norm).backbone.modules()
        if isinstance(m, nn.BatchNorm2d)
    ]
    assert any(norms) == (batch_norm == "train")


def test_going_back_to_the_head_alone_leaves_no_gradient_to_step_on():
    net = thawed(2)
    net(images()).sum().backward()
    net.head_only(True)
    assert all(p.grad is None for p in net.backbone.parameters())


def test_dropout_follows_torchs_generator():
    recipe = Recipe(model=SMALL, lr=1e-3, head=Head(dense=(16,), dropout=0.5))
    net = build(recipe).train()
    torch.manual_seed(1)
    first = net(images())
    second = net(images())
    torch.manual_seed(1)
    assert not torch.equal(first, second)
    # The norms' statistics have moved meanwhile; in training they are not used.
    assert torch.equal(first, net(images()))


def test_norms_of_a_convnet_learn_in_training_and_rest_in_inference():
    net = build(RECIPES["convnet, average"])
    norm = net.backbone.conv1.norm
    before = norm.running_mean.clone()
    net.eval()(images())
    assert torch.equal(norm.running_mean, before)
    net.train()(images())
    assert not torch.equal(norm.running_mean, before)


def test_outputs_start_about_equal_whatever_the_features():
    for recipe in RECIPES.values():
        logits = build(recipe).eval()(images())
        assert logits.softmax(dim=1).sub(1 / 3).abs().max() < 0.15


def test_a_net_overfits_eight_images():
    recipe = Recipe(model=ConvNet(kernels=(8, 16)), lr=1e-2, head=Head(pool="flatten", dense=(16,)))
    net = build(recipe, classes=2)
    labels = torch.tensor([0, 1] * 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(images(8)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_what_cannot_be_built_is_refused_with_all_reasons():
    recipe = replace(RECIPES["convnet, average"], model=ConvNet(kernels=(4,) * 4, kernel_size=5))
    with pytest.raises(RecipeError, match=r"4 pools.*16 x 16.*got 8.*; kernel_size 5 is too large"):
        build(recipe, size=8)
    with pytest.raises(RecipeError, match="'densenet12' is not a backbone; did you mean 'dense"):
        describe(Recipe(model=Pretrained("densenet12"), lr=1), classes=2, size=64, channels=3)
