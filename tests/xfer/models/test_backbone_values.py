"""Laws about what a backbone computes, beside torchvision's own model, at small sizes."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy
from torchvision.models import get_model
from torchvision.models.vision_transformer import interpolate_embeddings

from xfer.models.backbone import build_backbone, fill
from xfer.models.heads import build_pool
from xfer.models.net import Block, Net, Normalise
from xfer.models.table import TABLE
from xfer.models.thaw import thaw
from xfer.models.weights import preprocessing
from xfer.recipe import Pretrained

SMALLEST = (
    "resnet18", "densenet121", "inception_v3", "vgg16", "squeezenet1_1", "mobilenet_v2",
    "mobilenet_v3_small", "shufflenet_v2_x1_0", "mnasnet1_0", "efficientnet_b0", "regnet_y_400mf",
    "convnext_tiny", "swin_t", "vit_b_16",
)  # fmt: skip
"""Of each family; the tests of the others are slow."""

ROWS = [pytest.param(name, marks=() if name in SMALLEST else pytest.mark.slow) for name in TABLE]


@dataclass
class Pair:
    """Torchvision's model without its classifier and ours, with the same values, in inference."""

    name: str
    size: int
    theirs: nn.Module
    ours: nn.Module
    blocks: tuple[Block, ...]
    state: dict[str, Tensor]
    """What ours was filled from."""
    features: Tensor
    """Of two images."""


@pytest.fixture(scope="module", params=ROWS)
def pair(request) -> Pair:
    return build_pair(request.param)


def build_pair(name: str) -> Pair:
    row = TABLE[name]
    size = row.nearest_size(64)
    theirs = without_classifier(name, size)
    state = dict(theirs.state_dict())
    if row.tokens:
        state["encoder.pos_embedding"] = torch.rand(1, 197, 768)  # as weights are for 224
        theirs.load_state_dict(interpolate_embeddings(size, row.multiple, {**state}))
    ours, blocks = filled(name, size, state)
    features = walk(blocks, torch.rand(2, 3, size, size))[-1]
    return Pair(name, size, theirs, ours, blocks, state, features)


def without_classifier(name: str, size: int) -> nn.Module:
    """Torchvision's initial values are slow to draw: built on `meta`, then given quick ones."""
    arguments = {"image_size": size} if TABLE[name].tokens else TABLE[name].arguments
    # RegNet computes its widths with tensors.
    with torch.random.fork_rng([]), torch.device("cpu" if "regnet" in name else "meta"):
        model = get_model(name, weights=None, **arguments)
    for classifier in ("fc", "classifier", "head", "heads"):
        if hasattr(model, classifier):
            setattr(model, classifier, nn.Identity())
    model.to_empty(device="cpu")
    for attention in model.modules():
        if hasattr(attention, "define_relative_position_index"):  # constants of Swin's windows
            attention.define_relative_position_bias_table()
            attention.define_relative_position_index()
    set_values(model)
    return model.eval()


def set_values(model: nn.Module) -> None:
    """Values that let the image through, and norms that none could skip unseen."""
    generator = torch.Generator().manual_seed(1)
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            value.zero_()
        elif key.endswith(("bias", "mean", "token", "embedding")):
            value.uniform_(-0.1, 0.1, generator=generator)
        elif key.endswith(("position_index", "coords_table")):
            pass
        elif value.ndim > 1:
            # A variance of 1.5 / inputs: with 1 EfficientNets lose the image, with 2 they overflow.
            bound = (4.5 / value[0].numel()) ** 0.5
            value.uniform_(-bound, bound, generator=generator)
        else:  # weights and variances of norms
            value.uniform_(0.5, 1.5, generator=generator)


def filled(name: str, size: int, state: dict[str, Tensor]) -> tuple[nn.Module, tuple[Block, ...]]:
    with torch.device("meta"):
        ours, blocks = build_backbone(name, size=size)
    fill(ours, state)
    return ours.eval(), blocks


def net_of(pair: Pair, depth: int, *, norms_train: bool = False, copied: bool = False) -> Net:
    """Ours, thawed, with a head that is the same at every depth."""
    ours = copy.deepcopy(pair.ours) if copied else pair.ours
    blocks = tuple(Block(b.name, ours.get_submodule(b.name), b.part) for b in pair.blocks)
    thaw(Pretrained(pair.name, unfreeze_depth=depth), ours, blocks)
    expected = preprocessing(pair.name)
    pool = build_pool("average", tokens=TABLE[pair.name].tokens)
    pooled = pool(pair.features)
    head = nn.Sequential()
    head.add_module("outputs", nn.Linear(pooled.shape[1], 2))
    set_values(head)
    with torch.no_grad():
        head[0].weight.div_(pooled.abs().max())  # or the loss of a deep net has no gradient
    return Net(
        normalise=Normalise(expected.mean, expected.std),
        backbone=ours,
        blocks=blocks,
        pool=pool,
        head=head,
        norms_train=norms_train,
    )


def walk(blocks: tuple[Block, ...], values: Tensor) -> list[Tensor]:
    """The value after each block, without gradients."""
    found = []
    with torch.no_grad():
        for block in blocks:
            values = block.module(values)
            found.append(values)
    return found


def watch(model: nn.Module, names: set[str], images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """A model's output, and what these modules put out: copies, some activations write on it."""
    found = {}

    def keep(name: str):
        return lambda _, args, out: found.update({name: out.clone()})

    modules = [(name, module) for name, module in model.named_modules() if name in names]
    handles = [module.register_forward_hook(keep(name)) for name, module in modules]
    with torch.no_grad():
        out = model(images)
    for handle in handles:
        handle.remove()
    return out, found


def same(pair: Pair, first: Tensor, second: Tensor) -> bool:
    """Bit for bit, but for torch's own attention: whether its weights ask for gradients decides
    there how matrices are multiplied, and so the last digits (measured: 2e-5 of about 3)."""
    if pair.name == "vit_b_16":
        return torch.allclose(first, second, rtol=1e-4, atol=1e-4)
    return torch.equal(first, second)


def images_of(pair: Pair) -> Tensor:
    return torch.rand(2, 3, pair.size, pair.size, generator=torch.Generator().manual_seed(0))


def pictures(size: int, count: int = 2, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator).byte()


def test_each_blocks_value_is_that_of_torchvisions_module_and_the_last_is_what_it_pools(pair):
    names = {block.name for block in pair.blocks}
    pooled, theirs = watch(pair.theirs, names, images_of(pair))
    ours = walk(pair.blocks, images_of(pair))
    added = {"transform_input", "features.relu", "embedding"}  # by adapters
    assert set(theirs) == names - added
    for block, value in zip(pair.blocks, ours, strict=True):
        if block.name in theirs:
            wanted = theirs[block.name]
            # Torchvision's dense layers return only what ours append.
            assert torch.equal(value[:, -wanted.shape[1] :], wanted), block.name
    last = ours[-1]
    assert last.std(dim=0).max() > 0  # the images matter
    if TABLE[pair.name].tokens:
        last = last[:, 0]
    elif pair.name != "squeezenet1_1":  # its classifier comes before its pool
        last = adaptive_avg_pool2d(last, 7 if "vgg" in pair.name else 1)
    assert torch.equal(last.flatten(1), pooled.flatten(1))


def test_cut_after_any_block_prefix_then_suffix_is_the_whole(pair):
    values = [images_of(pair)]
    values += walk(pair.blocks, values[0])
    for block, before, after in zip(pair.blocks, values, values[1:], strict=False):
        block.module.requires_grad_(True)  # as at the beginning of a suffix
        kept = before.clone()
        assert same(pair, block.module(before), after), block.name
        assert torch.equal(before, kept), block.name
    for cut in range(0, len(pair.blocks), len(pair.blocks) // 4):
        value = values[cut]
        for block in pair.blocks[cut:]:
            value = block.module(value)
        assert same(pair, value, values[-1]), cut


def test_no_block_writes_on_its_input_in_training_either(pair):
    net = net_of(pair, 4, norms_train=True, copied=True).train()
    values = images_of(pair)
    for block in net.blocks:
        before = values.clone()
        after = block.module(values)
        assert torch.equal(values, before), block.name
        values = after.detach()


def test_the_outputs_do_not_depend_on_the_depth_nor_the_prefix_on_the_mode(pair):
    images, found = pictures(pair.size), []
    for depth in (0, 2, 4):
        net = net_of(pair, depth).eval()
        features = net.prefix(images)
        assert not features.requires_grad
        assert torch.equal(net.train().prefix(images), features)
        found.append(net.eval().suffix(features))
    assert found[0].std(dim=0).max() > 0
    for out in found[1:]:
        assert same(pair, out, found[0])


@pytest.mark.parametrize(
    ("depth", "norms_train"),
    [
        (0, True),
        (1, False),
        pytest.param(2, True, marks=pytest.mark.slow),
        (3, True),
        pytest.param(4, False, marks=pytest.mark.slow),
    ],
)
def test_what_is_frozen_stays_bit_for_bit_and_what_is_trained_moves(pair, depth, norms_train):
    torch.manual_seed(0)  # of stochastic depth
    net = net_of(pair, depth, norms_train=norms_train, copied=True)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    # Adam: whatever the size of the gradients, which differs much between so many blocks.
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-4)
    for step in range(2):
        net.train()
        loss = cross_entropy(net(pictures(pair.size, seed=step)), torch.tensor([0, 1]))
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    trained = {key for key, p in net.named_parameters() if p.requires_grad}
    assert {key for key, p in net.named_parameters() if p.grad is not None} == trained
    statistics = {
        f"{path}.{key}"
        for block in net.blocks[net.prefix_blocks :]
        for path, norm in block.module.named_modules(prefix=f"backbone.{block.name}")
        if norms_train and isinstance(norm, nn.BatchNorm2d)
        for key, _ in norm.named_buffers()
    }
    after = net.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved <= trained | statistics
    assert statistics <= moved
    assert "head.outputs.weight" in moved
    for block in net.blocks:
        keys = {f"backbone.{block.name}.{key}" for key, _ in block.module.named_parameters()}
        assert not keys & trained or keys & moved, block.name


def test_images_of_the_smallest_size_have_features(pair):
    size = TABLE[pair.name].min_size
    _, blocks = filled(pair.name, size, pair.state)
    features = walk(blocks, pictures(size, 4) / 255)[-1]
    assert features.isfinite().all()
    assert features.std(dim=0).max() > 0


def test_a_densenet_cut_after_a_dense_blocks_last_layer_has_the_dense_blocks_value():
    pair = build_pair("densenet121")
    layers = {"denseblock1": 6, "denseblock2": 12, "denseblock3": 24, "denseblock4": 16}
    _, theirs = watch(pair.theirs, {f"features.{name}" for name in layers}, images_of(pair))
    ours = walk(pair.blocks, images_of(pair))
    after = {block.name: value for block, value in zip(pair.blocks, ours, strict=True)}
    for name, last in layers.items():
        value = after[f"features.{name}.denselayer{last}"]
        assert torch.equal(value, theirs[f"features.{name}"])


def test_inceptions_features_are_those_of_inputs_that_torchvision_transforms():
    pair = build_pair("inception_v3")
    ours = adaptive_avg_pool2d(walk(pair.blocks, images_of(pair))[-1], 1).flatten(1)
    for transformed in (True, False):
        pair.theirs.transform_input = transformed
        assert torch.equal(ours, watch(pair.theirs, set(), images_of(pair))[0]) == transformed
