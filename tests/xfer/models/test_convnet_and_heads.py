import pytest
import torch
from torch import nn

from xfer.errors import RecipeError
from xfer.models.convnet import build_convnet
from xfer.models.described import describe
from xfer.models.heads import build_head, build_pool, pooled_shape
from xfer.recipe import ConvNet, Head, Recipe


def kinds(module: nn.Module) -> list[str]:
    return [type(m).__name__ for m in module.modules() if not list(m.children())]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def convnet(**changes):
    given = {
        "kernels": (6, 16, 120),
        "kernel_size": 5,
        "padding": "same",
        "pool": "max",
        "pool_after": (1, 2),
        "batch_norm": False,
        "dropout": 0.0,
    }
    return build_convnet(3, **(given | changes))


def head_of(shape, **changes):
    given = {"dense": (), "activation": "relu"} | changes
    given.setdefault("dropouts", (0.0,) * (len(given["dense"]) + 1))
    return build_head(shape, 3, **given)


# --------------------------------------------------------------------------------------------------
# The studies' own networks, with their sizes, channels and classes, and every layer's parameters:
# kernels x (values each sees + 1). Sides are written where `valid` padding shrinks them.


def lenet(*kernels, size):
    return ConvNet(kernels=kernels, kernel_size=size, padding="valid", pool_after=(1, 2))


def small(*kernels, **more):
    return ConvNet(kernels=kernels, padding="valid", initial="glorot_uniform", **more)


FLAT_50 = Head(pool="flatten", dense=(50,))
FLAT_128_64 = Head(pool="flatten", dense=(128, 64))
STUDIES = {
    "E1": (  # 299 295 147 143 71 67
        *(lenet(6, 16, 120, size=5), FLAT_50, (299, 3, 3)),
        6 * (75 + 1) + 16 * (150 + 1) + 120 * (400 + 1) + 50 * (120 * 67 * 67 + 1) + 3 * 51,
    ),
    "E5": (  # 299 297 148 146 73 71
        *(lenet(6, 16, 120, size=3), FLAT_50, (299, 3, 3)),
        6 * (27 + 1) + 16 * (54 + 1) + 120 * (144 + 1) + 50 * (120 * 71 * 71 + 1) + 3 * 51,
    ),
    "E6": (  # 299 293 146 140 70 64
        *(lenet(6, 16, 120, size=7), FLAT_50, (299, 3, 3)),
        6 * (147 + 1) + 16 * (294 + 1) + 120 * (784 + 1) + 50 * (120 * 64 * 64 + 1) + 3 * 51,
    ),
    "E7": (
        *(lenet(3, 8, 60, size=5), FLAT_50, (299, 3, 3)),
        3 * (75 + 1) + 8 * (75 + 1) + 60 * (200 + 1) + 50 * (60 * 67 * 67 + 1) + 3 * 51,
    ),
    "E8": (
        *(lenet(12, 32, 240, size=5), FLAT_50, (299, 3, 3)),
        12 * (75 + 1) + 32 * (300 + 1) + 240 * (800 + 1) + 50 * (240 * 67 * 67 + 1) + 3 * 51,
    ),
    "C1": (  # 64 62 31 29 14 12 6 4 2; the study does not tell its kernels: 32 each, as in C6
        *(small(32, 32, 32, 32), FLAT_128_64, (64, 1, 2)),
        32 * (9 + 1) + 3 * 32 * (288 + 1) + 128 * (32 * 2 * 2 + 1) + 64 * 129 + 2 * 65,
    ),
    "C6": (  # 64 62 31 29 14
        *(small(32, 32), Head(pool="flatten", dense=(128,)), (64, 1, 2)),
        32 * (9 + 1) + 32 * (288 + 1) + 128 * (32 * 14 * 14 + 1) + 2 * 129,
    ),
    "C7": (  # 64 62 60 30
        *(small(32, 32, pool_after=(2,)), FLAT_128_64, (64, 1, 2)),
        32 * (9 + 1) + 32 * (288 + 1) + 128 * (32 * 30 * 30 + 1) + 64 * 129 + 2 * 65,
    ),
    "F1": (  # 256 128 64 32
        ConvNet(kernels=(32, 64, 128)),
        Head(pool="flatten", dense=(128,), dropout=(0.0, 0.5)),
        (256, 3, 2),
        32 * (27 + 1) + 64 * (288 + 1) + 128 * (576 + 1) + 128 * (128 * 32 * 32 + 1) + 2 * 129,
    ),
}


@pytest.mark.parametrize(("model", "head", "images", "wanted"), STUDIES.values(), ids=STUDIES)
def test_a_studys_network_has_its_parameters(model, head, images, wanted):
    size, channels, classes = images
    recipe = Recipe(model=model, head=head, lr=1e-3)
    described = describe(recipe, classes=classes, size=size, channels=channels)
    assert described.parameters == described.trainable == wanted


def test_lenet_has_the_27_million_parameters_of_its_study():
    assert STUDIES["E1"][-1] == 26_985_195 == pytest.approx(27e6, rel=1e-3)


@pytest.mark.parametrize(
    ("dense", "side", "told"), [((10, 6), 6, 20_990), ((8, 5), 8, 17_079)], ids=["A1", "A4"]
)
def test_a_positional_head_has_the_parameters_of_its_study(dense, side, told):
    # Inception-v3 and ResNet-50 make 2048 channels, of 6 x 6 and 8 x 8 positions at 255 x 255.
    head = build_head(
        (2048, side, side), 2, dense=dense, activation="relu", dropouts=(0.0, 0.0, 0.0)
    )
    assert parameters(head) == told


# --------------------------------------------------------------------------------------------------
# Layers


def test_layers_stand_in_this_order():
    net = convnet(kernels=(4, 4), batch_norm=True, dropout=0.1, pool="average", pool_after=None)
    wanted = ["Conv2d", "BatchNorm2d", "ReLU", "AvgPool2d", "Dropout2d"]
    assert kinds(net) == wanted * 2
    assert net.conv1.conv.bias is None  # the norm brings its own shift
    assert kinds(convnet()) == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Conv2d", "ReLU"]


@pytest.mark.parametrize(("padding", "side"), [("same", 74), ("valid", 67)])
def test_padding_keeps_the_resolution_or_adds_nothing(padding, side):
    with torch.device("meta"):
        assert convnet(padding=padding)(torch.empty(1, 3, 299, 299)).shape == (1, 120, side, side)


def test_valid_convolutions_see_pixels_only():
    net = convnet(kernels=(1,), kernel_size=4, padding="valid", pool_after=())
    nn.init.ones_(net.conv1.conv.weight)
    nn.init.zeros_(net.conv1.conv.bias)
    assert torch.equal(net(torch.ones(1, 3, 6, 6)), torch.full((1, 1, 3, 3), 48.0))


def test_dropout_follows_pools_only():
    assert kinds(convnet(dropout=0.5)).count("Dropout2d") == 2
    assert kinds(convnet(dropout=0.5, pool_after=())).count("Dropout2d") == 0


def test_dropout_drops_whole_channels():
    net = convnet(kernels=(64,), pool_after=None, dropout=0.5).train()
    torch.manual_seed(0)
    dropped = net(torch.rand(1, 3, 16, 16) + 1).amax(dim=(2, 3))[0] == 0
    kept = net.eval()(torch.rand(1, 3, 16, 16) + 1).amax(dim=(2, 3))[0] == 0
    assert dropped.sum() > kept.sum() + 8


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ["Linear"]),
        ({"dropouts": (0.5,)}, ["Dropout", "Linear"]),
        ({"dense": (8, 4)}, ["Linear", "ReLU", "Linear", "ReLU", "Linear"]),
        (
            {"dense": (8,), "activation": "silu", "dropouts": (0.5, 0.5)},
            ["Dropout", "Linear", "SiLU", "Dropout", "Linear"],
        ),
        ({"dense": (8,), "dropouts": (0.0, 0.5)}, ["Linear", "ReLU", "Dropout", "Linear"]),
        ({"dense": (8,), "activation": "gelu"}, ["Linear", "GELU", "Linear"]),
        ({"dense": (8,), "activation": "none"}, ["Linear", "Identity", "Linear"]),
    ],
)
def test_a_head_has_these_layers(changes, wanted):
    head = head_of((12,), **changes)
    assert kinds(head) == wanted
    assert head(torch.zeros(2, 12)).shape == (2, 3)


@pytest.mark.parametrize("shape", [(12,), (12, 2, 2)])
def test_each_dropout_stands_before_its_layer(shape):
    head = head_of(shape, dense=(8, 4), dropouts=(0.1, 0.0, 0.3))
    names = [name for name, _ in head.named_children() if name != "flatten"]
    assert names == ["dropout1", "dense1", "relu1", "dense2", "relu2", "dropout", "outputs"]
    assert (head.dropout1.p, head.dropout.p) == (0.1, 0.3)
    assert type(head.dropout1) is nn.Dropout  # of single values, on a map too


def test_a_positional_head_is_a_dense_one_at_every_position_then_outputs_of_all():
    head = head_of((12, 2, 3), dense=(8, 4), activation="silu")
    maps = torch.randn(5, 12, 2, 3)
    alone = nn.Sequential(*list(head.children())[:4])  # dense, silu, dense, silu
    values = torch.stack(
        [alone(maps[:, :, i : i + 1, j : j + 1]) for i in (0, 1) for j in range(3)]
    )
    one_after_another = values.flatten(2).permute(1, 2, 0).flatten(1)  # channels, then positions
    torch.testing.assert_close(head(maps), head.outputs(one_after_another))
    last = maps.to(memory_format=torch.channels_last)
    torch.testing.assert_close(head(last), head(maps))


def test_a_positional_head_without_dense_layers_is_that_of_flatten():
    maps = torch.rand(2, 5, 3, 3)
    head = head_of((5, 3, 3))
    assert torch.equal(head(maps), head.outputs(maps.flatten(1)))


# --------------------------------------------------------------------------------------------------
# Pools

MAPS = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
TOKENS = torch.cat([torch.full((2, 2, 5), 9.0), MAPS.flatten(2).transpose(1, 2)], dim=1)
POOLED = {
    "average": MAPS.mean(dim=(2, 3)),
    "max": MAPS.flatten(2).max(dim=2).values,
    "both": torch.cat([MAPS.mean(dim=(2, 3)), MAPS.flatten(2).max(dim=2).values], dim=1),
    "flatten": MAPS.reshape(2, 45),
    "positional": MAPS,
}


@pytest.mark.parametrize("pool", POOLED)
@pytest.mark.parametrize("kind", ["map", "channels last", "tokens"])
def test_a_pool_gives_these_values_and_writes_on_nothing(pool, kind):
    tokens = 2 if kind == "tokens" else 0
    values = TOKENS.clone() if tokens else MAPS.clone()
    if kind == "channels last":
        values = values.to(memory_format=torch.channels_last)
    before = values.clone()
    module = build_pool(pool, tokens=tokens)
    assert parameters(module) == 0
    torch.testing.assert_close(module(values), POOLED[pool])
    assert torch.equal(values, before)
    assert pooled_shape(pool, tuple(values.shape[1:]), tokens=tokens) == POOLED[pool].shape[1:]


def test_token_is_the_first_class_token():
    values = torch.rand(2, 11, 5)
    assert torch.equal(build_pool("token", tokens=2)(values), values[:, 0])
    assert pooled_shape("token", (11, 5), tokens=2) == (5,)


@pytest.mark.parametrize("make", [build_pool, lambda pool: pooled_shape(pool, (5, 3, 3))])
def test_token_is_refused_where_there_is_none(make):
    with pytest.raises(RecipeError, match=r"needs a class token.*use another pool"):
        make("token")
