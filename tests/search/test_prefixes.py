"""What a space can ask of frozen blocks is known from a few of its recipes."""

from dataclasses import replace

from search.prefixes import _asked
from tests.xfer.kept_data import frozen_recipe
from xfer.prefix import cuts_of
from xfer.recipe import Augment, ConvNet, Head, HeadFirst, Pretrained


def cuts(*recipes):
    return set(_asked(list(recipes), size=64, channels=3))


def test_every_backbone_is_expected_with_all_that_was_drawn_for_another():
    shallow = frozen_recipe("squeezenet1_1", 2, head=Head(pool="max"))
    whole = frozen_recipe("resnet18", 0, head=Head(pool="both"))
    found = cuts(shallow, whole)
    assert {(each.backbone, each.cut.pool) for each in found} == {
        (name, pool) for name in ("squeezenet1_1", "resnet18") for pool in ("max", "both", None)
    }
    for recipe in (shallow, whole):
        for cut in cuts_of(recipe, size=64, channels=3):
            assert cut in {each.cut for each in found if each.backbone == recipe.model.name}


def test_a_first_phase_of_one_is_expected_of_all():
    first = frozen_recipe("resnet18", 1, head_first=HeadFirst(epochs=1, lr=1e-2))
    found = cuts(first, frozen_recipe("squeezenet1_1", 2))
    assert ("squeezenet1_1", "average") in {(each.backbone, each.cut.pool) for each in found}


def test_where_all_is_trained_nothing_is_expected():
    assert cuts(frozen_recipe(model=ConvNet(kernels=(4,))), frozen_recipe("resnet18", 4)) == set()
    assert cuts() == set()


def test_a_class_token_is_expected_only_of_those_that_have_one():
    token = frozen_recipe("vit_b_16", 0, head=Head(pool="token"))
    pools = {(e.backbone, e.cut.pool) for e in cuts(token, frozen_recipe("resnet18", 0))}
    assert ("vit_b_16", "token") in pools
    assert ("resnet18", "token") not in pools


def test_modules_that_are_named_and_augmentation_do_not_matter_to_others():
    named = frozen_recipe(model=Pretrained("resnet18", train=("layer3",)))
    fresh = replace(named, augment=Augment.light())
    assert cuts(named) == cuts(fresh)
    assert len(cuts(named)) == 1
