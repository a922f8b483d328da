"""When a hyperparameter exists is read off walks and said in words."""

import random

import pytest

from search.check.conditions import continuous_conditions, when


def walks(space, count: int = 200) -> list[dict]:
    generator = random.Random(0)
    return [space(generator) for _ in range(count)]


def branching(generator: random.Random) -> dict:
    walk = {"model": generator.choice(["cnn", "vit", "res"]), "depth": generator.randint(0, 4)}
    if walk["model"] != "vit":
        walk["pool"] = 1
    if walk["depth"] >= 2:
        walk["deep"] = generator.random()
    if walk["depth"] <= 1:
        walk["shallow"] = 1
    if walk["depth"] == 3:
        walk["three"] = 1
    if 1 <= walk["depth"] <= 3:
        walk["middle"] = 1
    if walk["model"] == "cnn" and walk["depth"] >= 2:
        walk["both"] = generator.choice([True, False])
        if walk["both"]:
            walk["nested"] = 1
    if walk["depth"] % 2:
        walk["odd"] = 1
    walk["last"] = 1
    return walk


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model", "always"),
        ("last", "always"),
        ("pool", "model = cnn or res"),
        ("deep", "depth at least 2"),
        ("shallow", "depth at most 1"),
        ("three", "depth = 3"),
        ("middle", "depth in 1 to 3"),
        ("both", "model = cnn and depth at least 2"),
        ("odd", "sometimes"),
    ],
)
def test_a_condition_is_said_as_an_author_would(name: str, words: str) -> None:
    assert when(name, walks(branching)) == words


def test_a_condition_within_a_condition_names_the_inner_one() -> None:
    assert "both = True" in when("nested", walks(branching))


def test_what_comes_later_is_no_condition() -> None:
    found = walks(lambda g: {"b": 1, "a": 1} if g.random() < 0.5 else {"a": 0})
    assert when("b", found) == "sometimes"


def test_only_thresholds_on_continuous_ranges_are_told() -> None:
    def space(generator: random.Random) -> dict:
        walk: dict = {"lr": generator.random(), "depth": generator.randint(0, 4)}
        if walk["lr"] > 0.5:
            walk["warm"] = 1
        if walk["depth"] > 2:
            walk["deep"] = 1
        return walk

    [told] = continuous_conditions(walks(space), ["lr"])
    assert told.startswith("'warm' exists when lr at least 0.5")
