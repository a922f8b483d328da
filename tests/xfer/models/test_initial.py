from math import sqrt

import pytest
import torch
from torch import nn

from xfer.models.convnet import build_convnet
from xfer.models.heads import build_head, build_pool
from xfer.models.initial import OUTPUT_DEVIATION, initialise

RANDOM = ("he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "orthogonal")


def convnet(*, batch_norm=False):
    return build_convnet(
        3,
        kernels=(4, 4, 8),
        kernel_size=3,
        padding="same",
        pool="max",
        pool_after=None,
        batch_norm=batch_norm,
        dropout=0.0,
    )


def head_of(*shape, width):
    return build_head(shape, 3, dense=(width,), activation="relu", dropouts=(0.0, 0.0))


def filled(module, initial, *, outputs=False, seed=0):
    initialise(module, torch.Generator().manual_seed(seed), initial=initial, outputs=outputs)
    return module


@pytest.mark.parametrize("initial", RANDOM[:4])
@pytest.mark.parametrize("layer", [nn.Conv2d(16, 48, 5), nn.Linear(400, 700)])
def test_weights_have_kerass_deviation_and_distribution(layer, initial):
    fan_in, fan_out = (25 * 16, 25 * 48) if isinstance(layer, nn.Conv2d) else (400, 700)
    wanted = sqrt(2 / fan_in if initial.startswith("he") else 2 / (fan_in + fan_out))
    weight = filled(nn.Sequential(layer), initial)[0].weight
    assert weight.std().item() == pytest.approx(wanted, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.02 * wanted)
    furthest = weight.abs().max().item() / wanted
    assert 1.72 < furthest <= sqrt(3) if initial.endswith("uniform") else furthest > 3.5


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 8, 5), nn.Conv2d(3, 90, 5), nn.Linear(9, 4)])
def test_orthogonal_kernels_are_so_along_their_shorter_side(layer):
    matrix = filled(nn.Sequential(layer), "orthogonal")[0].weight.detach().flatten(1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("initial", "value"), [("zeros", 0.0), ("ones", 1.0)])
def test_zeros_and_ones_fill_every_layer_but_biases(initial, value):
    head = filled(head_of(5, 2, 2, width=4), initial, outputs=True)
    for name, parameter in head.named_parameters():
        assert (parameter == (0.0 if name.endswith("bias") else value)).all()


@pytest.mark.parametrize("initial", RANDOM)
def test_by_hes_rules_alone_the_outputs_start_small(initial):
    head = filled(head_of(400, width=400), initial, outputs=True)
    inner = filled(head_of(400, width=400), initial)
    assert torch.equal(head.dense1.weight, inner.dense1.weight)
    if initial.startswith("he"):
        assert head.outputs.weight.abs().max() <= OUTPUT_DEVIATION * sqrt(3)
        assert head.outputs.weight.std().item() == pytest.approx(OUTPUT_DEVIATION, rel=0.05)
        assert inner.outputs.weight.std() > 5 * OUTPUT_DEVIATION
    else:
        assert torch.equal(head.outputs.weight, inner.outputs.weight)
        assert head.outputs.weight.std() > 4 * OUTPUT_DEVIATION


@pytest.mark.parametrize("initial", RANDOM)
def test_initial_values_follow_the_generator_and_no_other(initial):
    nets = [convnet(batch_norm=True) for _ in range(3)]
    before = torch.get_rng_state()
    states = [
        filled(net, initial, seed=seed).state_dict()
        for net, seed in zip(nets, (1, 1, 2), strict=True)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    moved = {key for key in states[0] if not torch.equal(states[0][key], states[2][key])}
    assert moved == {f"conv{n}.conv.weight" for n in (1, 2, 3)}


def test_glorots_uniform_values_are_these_on_every_machine():
    layer = filled(nn.Sequential(nn.Linear(3, 3, bias=False)), "glorot_uniform")[0]
    drawn = torch.tensor([0.49625658988952637, 0.7682217955589294, 0.08847743272781372])
    assert torch.equal(layer.weight[0], drawn * 2 - 1)  # the bound is sqrt(6 / (3 + 3))


def gradients_from(initial):
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    body = filled(convnet(), initial)
    head = filled(head_of(8, width=4), initial, outputs=True)
    net = nn.Sequential(body, build_pool("average"), head)
    nn.functional.cross_entropy(net(images), torch.tensor([0, 1, 2, 0])).backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


def test_of_zeros_nothing_but_the_outputs_shift_learns_as_in_study_c5():
    moved = {name for name, gradient in gradients_from("zeros").items() if gradient.any()}
    assert moved == {"2.outputs.bias"}


def test_ones_leave_all_kernels_of_a_layer_equal_as_in_study_c5():
    gradients = gradients_from("ones")
    assert gradients["0.conv1.conv.weight"].any()
    for name, gradient in gradients.items():
        if "outputs" not in name:
            torch.testing.assert_close(gradient, gradient[:1].expand_as(gradient))
