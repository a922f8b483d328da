"""Ending a backbone at a node, and training chosen modules of it."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from xfer.errors import RecipeError
from xfer.models.adapters import torchvision_key
from xfer.models.assembly import assemble, name_problems
from xfer.models.backbone import build_backbone, classifier_shapes, random_state
from xfer.models.cut import nodes
from xfer.models.described import describe
from xfer.models.net import Net
from xfer.recipe import Head, Pool, Pretrained, Recipe

CUTS = {
    "all of a container": ("resnet18", "layer3"),
    "inside a residual block": ("resnet18", "layer2.0.conv2"),
    "an addition": ("resnet18", "layer2.1.add"),
    "a dense layer": ("densenet121", "features.denseblock2.denselayer3"),
    "inside a dense layer": ("densenet121", "features.denseblock3.denselayer5.conv1"),
    "one branch of Inception": ("inception_v3", "Mixed_7b.branch3x3_1.conv"),
    "inside a swin block": ("swin_t", "features.3.0.mlp"),
    "inside a transformer layer": ("vit_b_16", "encoder.layers.encoder_layer_1.mlp"),
    "before the tokens": ("vit_b_16", "embedding.conv_proj"),
    "between an embedding and its permutation": ("convnext_tiny", "features.3.1.block.3"),
}
every_cut = pytest.mark.parametrize(("name", "node"), CUTS.values(), ids=CUTS)


@pytest.fixture(autouse=True)
def quick_weights(monkeypatch):
    """Torchvision's first weights are slow to draw, most of all those of classifiers."""

    def quick(name: str, *, seed: int) -> dict[str, Tensor]:
        if name.startswith("swin"):  # its windows' positions are constants
            return random_state(name, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        return {
            key: torch.rand(shape, generator=generator) / max(1, shape[1:].numel()) ** 0.5
            for key, shape in classifier_shapes(name).items()
            if not key.startswith(("classifier", "heads", "fc", "AuxLogits"))
        }

    monkeypatch.setattr("xfer.models.assembly.random_state", quick)


def net_of(model: Pretrained, *, size: int, pool: Pool = "average") -> Net:
    recipe = Recipe(model=model, head=Head(pool=pool, dense=(3,)), lr=1e-3)
    return assemble(recipe, classes=2, size=size, channels=3, seed=0)


def pictures(size: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator).byte()


def side(name: str) -> int:
    return 75 if name == "inception_v3" else 32


def torchvisions_value(net: Net, name: str, node: str, images: Tensor) -> Tensor:
    """The node's value in the whole model, by torchvision's own feature extractor."""
    from torchvision.models import get_model
    from torchvision.models.feature_extraction import create_feature_extractor

    more = {"image_size": 32} if name == "vit_b_16" else {}
    if name == "inception_v3":
        more = {"transform_input": True, "init_weights": False, "aux_logits": False}
    with torch.device("meta"):
        model = get_model(name, weights=None, **more)
    model.to_empty(device="cpu")
    own = {torchvision_key(key): value for key, value in net.backbone.state_dict().items()}
    for key, value in model.state_dict().items():
        if key in own:
            value.copy_(own[key])
    node = {
        "features.denseblock2.denselayer3": "features.denseblock2.denselayer4.cat",  # its input
        "embedding.conv_proj": "conv_proj",
    }.get(node, node)
    extractor = create_feature_extractor(model.eval(), {node: "value"})
    with torch.no_grad():
        return extractor(net.normalise(images))["value"]


@every_cut
def test_the_last_value_is_that_of_torchvisions_feature_extractor(name, node):
    net = net_of(Pretrained(name, cut_after=node, weights="none"), size=side(name)).eval()
    images = pictures(side(name))
    with torch.no_grad():
        values = net.normalise(images)
        for block in net.blocks:
            values = block.module(values)
        wanted = torchvisions_value(net, name, node, images)
    if wanted.ndim == 4 and wanted.shape != values.shape:  # channels last
        wanted = wanted.permute(0, 3, 1, 2)
    assert values.shape == wanted.shape
    assert torch.equal(values, wanted)


@every_cut
def test_what_lies_behind_the_cut_is_gone(name, node):
    net = net_of(
        Pretrained(name, cut_after=node, weights="none", unfreeze_depth=4), size=side(name)
    )
    net(pictures(side(name))).sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None] == []


@every_cut
def test_a_copy_of_a_cut_net_is_the_same_net(name, node):
    model = Pretrained(name, cut_after=node, weights="none", unfreeze_depth=1, batch_norm="train")
    net = net_of(model, size=side(name)).eval()
    images = pictures(side(name))
    with torch.no_grad():
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(other(images), net(images))
            in_training = [
                m.training for m in net.train().modules() if isinstance(m, nn.BatchNorm2d)
            ]
            assert in_training == [
                m.training for m in other.train().modules() if isinstance(m, nn.BatchNorm2d)
            ]
            net.eval()


def test_the_cut_of_a_map_feeds_every_head():
    for pool in ("both", "positional"):
        model = Pretrained("swin_t", cut_after="features.3.0.mlp", weights="none")
        net = net_of(model, size=64, pool=pool)
        assert net(pictures(64)).shape == (2, 2)


def test_a_depth_counts_what_stages_the_cut_has_left():
    model = Pretrained("resnet18", cut_after="layer3.0.conv1", unfreeze_depth=1, weights="none")
    trained = {key for key, p in net_of(model, size=64).named_parameters() if p.requires_grad}
    assert {key for key in trained if key.startswith("backbone")} == {
        "backbone.layer3.0.conv1.weight"
    }


WRONG = {
    "no such node": ("resnet18", "layer3.0.conv3", "did you mean 'layer3.0.conv"),
    "no such block": ("resnet18", "layer9.0", "is no node of resnet18; did you mean 'layer"),
    "inside one operation": ("resnet18", "bn1.weight", "is no node of resnet18"),
    "two values": (
        "vit_b_16", "encoder.layers.encoder_layer_3.self_attention", "is more than one value",
    ),
    "no map": ("swin_t", "features.1.0.attn.attn_qkv_weight", "no feature map"),
    "no regular expression": ("resnet18", "layer1.0.[", "is no node of resnet18"),
    "more than a node": ("resnet18", "layer1.0.relu.1", "is no node of resnet18"),
    "patches without their token": ("vit_b_16", "embedding.transpose", "no feature map"),
    "nothing like it": ("vgg16", "xyz", "(python -m xfer.models vgg16 lists them)"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "node", "told"), WRONG.values(), ids=WRONG)
def test_a_node_that_is_none_is_refused_by_name(name, node, told):
    recipe = Recipe(model=Pretrained(name, cut_after=node), lr=1e-3)
    [problem] = name_problems(recipe, size=64)
    assert repr(node) in problem
    assert told in problem
    with pytest.raises(RecipeError):
        describe(recipe, classes=2, size=64, channels=3)


def test_a_map_before_the_tokens_has_no_class_token():
    model = Pretrained("vit_b_16", cut_after="embedding.conv_proj")
    recipe = Recipe(model=model, head=Head(pool="token"), lr=1e-3)
    [problem] = name_problems(recipe, size=64)
    assert "token" in problem


def test_a_block_that_is_one_operation_has_no_nodes_inside():
    with torch.device("meta"):
        _, blocks = build_backbone("resnet18", size=64)
    inside = {block.name: nodes(block) for block in blocks}
    assert inside["bn1"] == []
    assert "layer1.0.conv2" in inside["layer1.0"]
    assert all(n.startswith(f"{name}.") for name, names in inside.items() for n in names)


# --------------------------------------------------------------------------------------------------
# Training chosen modules


def test_named_modules_and_parameters_are_trained_and_nothing_else():
    model = Pretrained(
        "inception_v3",
        train=("Conv2d_2b_3x3.conv", "Conv2d_2b_3x3.bn.bias", "Mixed_6c"),
        batch_norm="train",
        weights="none",
    )
    with torch.device("meta"):
        whole, _ = build_backbone("inception_v3", size=75)
    recipe = Recipe(model=model, lr=1e-3)
    described = describe(recipe, classes=2, size=75, channels=3)
    wanted = sum(
        p.numel()
        for key, p in whole.named_parameters()
        if key.startswith("Mixed_6c.")
        or key in ("Conv2d_2b_3x3.conv.weight", "Conv2d_2b_3x3.bn.bias")
    )
    assert described.trainable == wanted + 2 * 2048 + 2
    assert described.features == (32, 35, 35)  # the prefix ends before the first trained block


def test_frozen_parts_on_both_sides_stay_bit_for_bit_and_their_norms_in_inference():
    model = Pretrained(
        "resnet18", train=("layer2.0.conv2", "layer2.0.bn2"), batch_norm="train", weights="none"
    )
    net = net_of(model, size=32)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net.train()
    torch.nn.functional.cross_entropy(net(pictures(32, 4)), torch.tensor([0, 1, 1, 1])).backward()
    optimizer.step()
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    inside = {key for key in before if ".layer2.0.conv2." in key or ".layer2.0.bn2." in key}
    assert set(net.changing()) == inside | {key for key in before if key.startswith("head.")}
    assert moved <= set(net.changing())
    assert {"backbone.layer2.0.conv2.weight", "head.outputs.bias"} < moved
    assert "backbone.layer2.0.bn2.running_mean" in moved


def test_names_that_train_nothing_are_all_told():
    model = Pretrained("resnet18", train=("layer5", "relu", "layer4"), cut_after="layer3")
    [problem] = name_problems(Recipe(model=model, lr=1e-3), size=64)
    for said in ("'layer5'", "'relu'", "'layer4'", "resnet18 cut after 'layer3'", "did you mean"):
        assert said in problem


def test_torchvisions_names_reach_what_an_adapter_moved():
    model = Pretrained("vit_b_16", train=("encoder.pos_embedding", "class_token"), weights="none")
    recipe = Recipe(model=model, lr=1e-3, head=Head(pool="token"))
    trainable = describe(recipe, classes=2, size=64, channels=3).trainable
    assert trainable == 768 * (1 + 1 + 16) + 2 * 768 + 2
