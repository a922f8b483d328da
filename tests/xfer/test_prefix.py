"""What a frozen prefix makes of an image is a pure function of it, and rounded by its own row."""

import pytest
import torch

from tests.xfer.kept_data import HEAD_FIRST, frozen_recipe, home_with, net_of
from xfer.errors import RecipeError
from xfer.models.table import TABLE
from xfer.prefix import check_frozen, cut_of, cuts_of, padded, rounded, run_prefix
from xfer.recipe import ConvNet, Pretrained

NAME = "squeezenet1_1"


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory):
    with home_with(tmp_path_factory.mktemp("home"), NAME, "resnet18", "mobilenet_v2"):
        yield


def images(count, size=64):
    generator = torch.Generator().manual_seed(0)
    shape = (count, size, size, 3)
    drawn = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return drawn.permute(0, 3, 1, 2)


def test_the_whole_net_is_its_prefix_then_its_suffix():
    for recipe in (frozen_recipe(depth=1), HEAD_FIRST):
        net = net_of(recipe).eval()
        given = images(32)
        with torch.no_grad():
            whole, parts = net(given), net.suffix(run_prefix(net, given, exact=True))
            halves = net.suffix(run_prefix(net, given))
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
        assert float((halves - whole).norm() / whole.norm()) < 1e-3
        assert torch.equal(halves.argmax(dim=1), whole.argmax(dim=1))


def test_gradients_of_the_suffix_are_those_of_the_whole():
    recipe = frozen_recipe(depth=1)
    net = net_of(recipe)
    given = images(32)
    net.suffix(run_prefix(net, given, exact=True)).square().sum().backward()
    own = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    net(given).square().sum().backward()
    whole = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(own) == len(whole) > 0
    for one, other in zip(own, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [NAME, "resnet18", "mobilenet_v2"])
def test_a_row_is_the_same_in_every_company_and_place(name):
    for depth in range(3):
        assert_pure(frozen_recipe(name, depth))


def assert_pure(recipe, size=64):
    """Alone, first, last, among others, and with another number of them."""
    net = net_of(recipe, size=size)
    given = images(70, size=size)
    every = run_prefix(net, given, exact=True)
    for rows in ([3], [3, 1, 2], list(range(70))[::-1], list(range(5, 50)), [69] * 33):
        assert torch.equal(run_prefix(net, given[rows], exact=True), every[rows])


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_of_every_backbone_rows_are_pure_and_prefix_and_suffix_are_the_whole_at_every_cut(name):
    size = TABLE[name].nearest_size(64)
    given = images(33, size=size)
    for depth in range(4):
        recipe = frozen_recipe(model=Pretrained(name, unfreeze_depth=depth, weights="none"))
        net = net_of(recipe, size=size).eval()
        assert cut_of(net, recipe) == next(iter(cuts_of(recipe, size=size, channels=3)), None)
        if not net.prefix_blocks:
            continue
        exact = run_prefix(net, given[:32], exact=True)
        if depth == 0:  # a row of a deep cut is pure only if that of a shallower one is
            for rows in ([3], [20, 3, 32], list(range(33))[::-1]):
                again = run_prefix(net, given[rows], exact=True)
                assert torch.equal(again[rows.index(3)], exact[3])
        with torch.no_grad():
            whole = net(given[:32])
            parts, halves = net.suffix(exact), net.suffix(rounded(exact))
        # By norm: of random weights single logits are small differences of large numbers.
        assert float((parts - whole).norm() / whole.norm()) < 1e-4
        assert float((halves - whole).norm() / whole.norm()) < 2e-3


def test_cuts_are_those_of_the_net_that_is_built():
    models = [
        *(Pretrained(NAME, unfreeze_depth=depth) for depth in range(5)),
        Pretrained("resnet18", train=("layer3.1", "layer4.0.conv1")),
        Pretrained("resnet18", cut_after="layer3.0.add", unfreeze_depth=1),
    ]
    for model in models:
        recipe = frozen_recipe(model=model)
        net = net_of(recipe)
        of_net = cut_of(net, recipe)
        assert cuts_of(recipe, size=64, channels=3) == (() if of_net is None else (of_net,))
    assert cuts_of(frozen_recipe(model=ConvNet(kernels=(4,))), size=64, channels=3) == ()
    both = cuts_of(HEAD_FIRST, size=64, channels=3)
    assert [cut.pool for cut in both] == [None, "average"]


def test_what_is_not_frozen_is_refused_by_name():
    net = net_of(frozen_recipe("mobilenet_v2", 1))
    check_frozen(net)
    net.prefix_blocks += 1
    with pytest.raises(RecipeError, match="is trained"):
        check_frozen(net)
    net.prefix_blocks -= 1
    for module in net.blocks[2].module.modules():
        module.training = True
    with pytest.raises(RecipeError, match="is in training mode"):
        check_frozen(net)


def test_rounding_is_by_row_and_only_where_half_precision_holds():
    values = torch.tensor([[1.0, 1 / 3], [1e6, 1.0], [1e-9, 2e-9], [0.0, 0.0]])
    found = rounded(values)
    assert torch.equal(found[0], values[0].half().float())
    assert torch.equal(found[1:], values[1:])
    assert rounded(values, exact=True) is values


def test_the_last_batch_is_padded_and_the_padding_left_out():
    batches = list(padded(images(35)))
    assert [(len(batch), count) for batch, count in batches] == [(32, 32), (32, 3)]
    assert not batches[1][0][3:].any()
