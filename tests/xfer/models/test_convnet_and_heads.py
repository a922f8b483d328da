import pytest
import torch
from torch import nn

from xfer.models.convnet import build_convnet
from xfer.models.heads import build_head, build_pool


def kinds(module: nn.Module) -> list[str]:
    return [type(m).__name__ for m in module.modules() if not list(m.children())]


def convnet(**changes):
    given = {
        "kernels": (6, 16, 120),
        "kernel_size": 5,
        "pool": "max",
        "pool_after": (1, 2),
        "batch_norm": False,
        "dropout": 0.0,
    }
    return build_convnet(3, **(given | changes))


def test_lenet_is_what_its_study_says():
    # Study E1: 6, 16, 120 kernels of 5 x 5, pooled after the first two, dense 50, at 299 x 299.
    # Same padding leaves 74 x 74 maps, the study's 27 million trainable parameters come from valid.
    net = convnet()
    assert kinds(net) == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Conv2d", "ReLU"]
    assert net(torch.zeros(1, 3, 299, 299)).shape == (1, 120, 74, 74)
    assert sum(p.numel() for p in net.parameters()) == 456 + 2_416 + 48_120


def test_layers_stand_in_this_order():
    net = convnet(kernels=(4, 4), batch_norm=True, dropout=0.1, pool="average", pool_after=None)
    wanted = ["Conv2d", "BatchNorm2d", "ReLU", "AvgPool2d", "Dropout2d"]
    assert kinds(net) == wanted * 2
    assert net.conv1.conv.bias is None  # the norm brings its own shift


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
        ({"dropout": 0.5}, ["Dropout", "Linear"]),
        ({"dense": (8, 4)}, ["Linear", "ReLU", "Linear", "ReLU", "Linear"]),
        (
            {"dense": (8,), "activation": "silu", "dropout": 0.5},
            ["Dropout", "Linear", "SiLU", "Dropout", "Linear"],
        ),
        ({"dense": (8,), "activation": "gelu"}, ["Linear", "GELU", "Linear"]),
        ({"dense": (8,), "activation": "none"}, ["Linear", "Identity", "Linear"]),
    ],
)
def test_a_head_has_these_layers(changes, wanted):
    given = {"dense": (), "activation": "relu", "dropout": 0.0}
    head = build_head(12, 3, **(given | changes))
    assert kinds(head) == wanted
    assert head(torch.zeros(2, 12)).shape == (2, 3)


def test_pools_are_a_mean_and_all_values_in_torchs_order():
    maps = torch.rand(2, 5, 3, 3)
    torch.testing.assert_close(build_pool("average")(maps), maps.mean(dim=(2, 3)))
    flat = build_pool("flatten")(maps.to(memory_format=torch.channels_last))
    assert torch.equal(flat, maps.reshape(2, 45))
