from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from xfer.recipe import Schedule
from xfer.schedules import plateaus, schedule_factor

LR = 0.3


def ours(schedule: Schedule, *, per_epoch: int, epochs: int, losses: Sequence[float] = ()):
    """Rates of all steps; `losses` come in one by one, as epochs end."""
    return [
        LR
        * schedule_factor(
            schedule,
            step,
            steps_per_epoch=per_epoch,
            steps=per_epoch * epochs,
            losses=losses[: step // per_epoch],
        )
        for step in range(per_epoch * epochs)
    ]


def torchs(build, *, steps: int, every: int = 1, values: Sequence[float] | None = None):
    """Rates of torch's scheduler, which is called after each `every` steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    rates = []
    scheduler = build(optimizer)
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step(*([] if values is None else [values[step // every]]))
    return rates


def test_constant_is_the_recipes_rate_throughout():
    assert ours(Schedule(), per_epoch=3, epochs=2) == [LR] * 6


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_cosine_is_torchs_and_would_reach_zero(steps):
    expected = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=steps), steps=steps)
    assert ours(Schedule("cosine"), per_epoch=1, epochs=steps) == pytest.approx(expected, abs=1e-9)
    assert schedule_factor(Schedule("cosine"), steps, steps_per_epoch=1, steps=steps) == 0.0


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_steps_are_torchs(per, every):
    schedule = Schedule("step", factor=0.4, every=every, per=per)
    expected = torchs(
        lambda o: lr_scheduler.StepLR(o, step_size=every, gamma=0.4),
        steps=28,
        every=4 if per == "epoch" else 1,
    )
    assert ours(schedule, per_epoch=4, epochs=7) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_exponential_is_torchs(per):
    schedule = Schedule("exponential", factor=0.85, every=1, per=per)
    expected = torchs(
        lambda o: lr_scheduler.ExponentialLR(o, gamma=0.85),
        steps=20,
        every=5 if per == "epoch" else 1,
    )
    assert ours(schedule, per_epoch=5, epochs=4) == pytest.approx(expected, rel=1e-12)


def test_study_b_compounds_085_per_epoch():
    schedule = Schedule("exponential", factor=0.85, every=1)
    rates = ours(schedule, per_epoch=2, epochs=4)
    assert rates == pytest.approx([LR * 0.85**epoch for epoch in (0, 0, 1, 1, 2, 2, 3, 3)])


def test_study_d_decays_without_jumps_by_a_factor_per_hundred_thousand_steps():
    """Keras's ExponentialDecay: `initial * rate ** (step / decay_steps)`."""
    schedule = Schedule("exponential", factor=0.002, every=100_000, per="step")
    of = {
        step: schedule_factor(schedule, step, steps_per_epoch=123, steps=200_001)
        for step in (0, 1, 123, 50_000, 100_000, 200_000)
    }
    assert of[0] == 1.0
    assert of[1] == pytest.approx(0.99993785584)  # e ** (ln .002 / 100,000)
    assert of[123] < of[1]
    assert of[50_000] == pytest.approx(0.0447213595)  # the root of .002
    assert of[100_000] == pytest.approx(0.002)
    assert of[200_000] == pytest.approx(4e-6)


@given(
    losses=st.lists(st.integers(0, 6).map(float), min_size=1, max_size=30),
    patience=st.integers(1, 4),
)
def test_on_plateau_is_torchs(losses, patience):
    schedule = Schedule("on_plateau", factor=0.5, patience=patience)
    expected = torchs(
        # Torch waits for one epoch more than its patience; threshold and eps are off.
        lambda o: lr_scheduler.ReduceLROnPlateau(
            o, factor=0.5, patience=patience - 1, threshold=0, eps=0
        ),
        steps=2 * len(losses),
        every=2,
        values=losses,
    )
    assert ours(schedule, per_epoch=2, epochs=len(losses), losses=losses) == expected


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        ([], 0),
        ([3, 2, 1], 0),
        ([1, 2], 0),  # one epoch without a lower loss: patience is 2
        ([1, 2, 3], 1),
        ([1, 1, 1], 1),  # equal is not lower
        ([1, 5, 4, 3, 2], 2),  # lower than the one before is not enough
        ([1, 2, 0.5, 2, 0.4], 0),
        ([1, 2, 3, 2], 1),  # counting starts anew
    ],
)
def test_a_plateau_is_so_many_epochs_in_a_row_without_a_lower_loss(losses, found):
    assert plateaus(losses, patience=2) == found


@pytest.mark.parametrize("steps", [2, 3, 4, 10, 33, 200])
def test_one_cycle_is_torchs(steps):
    expected = torchs(
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=LR, total_steps=steps), steps=steps
    )
    got = ours(Schedule("one_cycle"), per_epoch=1, epochs=steps)
    assert got == pytest.approx(expected, rel=1e-9)


def test_one_cycle_climbs_for_three_tenths_and_falls_to_the_end():
    rates = ours(Schedule("one_cycle"), per_epoch=10, epochs=10)
    assert rates[0] == pytest.approx(LR / 25)
    assert rates[29] == max(rates) == pytest.approx(LR)
    assert all(earlier < later for earlier, later in pairwise(rates[:30]))
    assert all(earlier > later for earlier, later in pairwise(rates[29:]))
    assert rates[-1] == pytest.approx(LR / 250_000)


def test_one_cycle_of_a_single_step_is_its_peak():
    assert ours(Schedule("one_cycle"), per_epoch=1, epochs=1) == [LR]


def test_a_warm_up_before_a_cosine_is_torchs_of_both():
    warmup, steps = 4, 12
    expected = torchs(
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                # From 1/4 in step 0 to 1 in step 3.
                lr_scheduler.LinearLR(o, start_factor=1 / warmup, total_iters=warmup - 1),
                lr_scheduler.CosineAnnealingLR(o, T_max=steps - warmup),
            ],
            milestones=[warmup],
        ),
        steps=steps,
    )
    got = ours(Schedule("cosine", warmup_epochs=2), per_epoch=2, epochs=6)
    assert got == pytest.approx(expected, rel=1e-9)
    assert got[warmup - 1] == LR


@pytest.mark.parametrize("name", ["constant", "cosine", "step", "exponential", "on_plateau"])
def test_a_warm_up_climbs_in_even_steps_to_the_schedules_rate_and_leaves_the_rest(name):
    losses = [1.0, 2.0, 3.0, 4.0, 5.0]
    changes = {"factor": 0.5, "every": 1, "patience": 1}
    plain = ours(Schedule(name, **changes), per_epoch=4, epochs=5, losses=losses)
    warm = ours(Schedule(name, **changes, warmup_epochs=0.75), per_epoch=4, epochs=5, losses=losses)
    assert warm[:3] == pytest.approx([LR / 3, 2 * LR / 3, LR])
    if name == "cosine":  # what is left for it is shorter
        assert warm[3] == LR
        assert all(earlier > later for earlier, later in pairwise(warm[3:]))
    else:
        assert warm[3:] == plain[3:]


@given(
    name=st.sampled_from(["constant", "cosine", "step", "exponential", "on_plateau"]),
    warmup=st.floats(0, 20),
    per_epoch=st.integers(1, 9),
    epochs=st.integers(1, 9),
)
def test_a_rate_is_above_zero_and_never_above_the_recipes(name, warmup, per_epoch, epochs):
    """Also with parts of epochs and steps, and with warm-ups as long as all steps or longer."""
    schedule = Schedule(name, factor=0.5, every=2, warmup_epochs=warmup)
    rates = ours(schedule, per_epoch=per_epoch, epochs=epochs, losses=[1.0] * epochs)
    assert all(0 < rate <= LR for rate in rates)


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_a_warm_up_that_is_too_long_is_cut_off_not_made_steeper(name):
    rates = ours(Schedule(name, warmup_epochs=10), per_epoch=2, epochs=3)
    assert rates == pytest.approx([LR * (step + 1) / 20 for step in range(6)])
