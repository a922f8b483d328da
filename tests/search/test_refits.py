"""The best trials are trained again on folds, and that decides; also after kills, and in time."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import result_of, run

import search.basis
import search.experiment
from search.bridge import Bridge
from search.controls import ENSEMBLE
from search.errors import RunError, TrialsError
from search.finish import finish
from search.finished import Finished
from search.images import cut_for_refits, load_images
from search.keeping import finalists, keep_best_checkpoints
from search.options import parse
from search.outcome import Context
from search.plan import make_plan
from search.refit_study import RefitRecord, affordable, left_out_said, recipes_again
from search.refits import Final, Refit, Refitted, decide, expected_seconds, judge
from search.rundir import RunDir
from search.running import Running
from search.space import load_space
from search.study import Record, read_rows
from search.trials import TrialRow
from search.worker import Job, train
from search.workers import Slots
from xfer.cross_validate import OutOfFold
from xfer.errors import DataError
from xfer.recipe import ConvNet, Recipe, to_json

SPACE = """
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Head, Images, Objective, Recipe, TargetRecall

DATA = Images("DATA", positive="1", size=16, channels=1)
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75, threshold=TargetRecall(0.8))
BUDGET = Budget(trials=4, epochs=3)
KNOWN = {"known": {"kernels": 4}}


def space(trial: Trial) -> Recipe:
    kernels = trial.suggest_categorical("kernels", [4, 6, 8, 10])
    return Recipe(
        model=ConvNet(kernels=(kernels, 8), batch_norm=True),
        head=Head(),
        lr=trial.suggest_float("lr", 0.01, 0.011),
        batch_size=8,
    )
"""
ONE = Slots(workers=1, threads=1, gpus_per_trial=0.0, device="cpu")
PARTS = {"train": 100, "val": 40, "test": 60}


def bright_squares(file: Path) -> Path:
    """Noise with a bright half, whose side says the class; in one image of six it lies."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in PARTS.items():
        labels = np.arange(count) % 2
        seen = np.where(generator.random(count) < 1 / 6, 1 - labels, labels)
        pixels = generator.integers(0, 160, (count, 16, 16), dtype=np.uint8)
        for row, place in enumerate(seen):
            pixels[row, :, place * 8 : (place + 1) * 8] += 60
        arrays |= {f"{part}_images": pixels, f"{part}_labels": labels[:, None]}
    np.savez(file, **arrays)
    return file


def in_process(
    record: Record, recipe_of: Any, *, job: Job, trials: int, watchers: Sequence[Any] = (),
    limit_s: float | None = None, reserved: Callable[[], float] = lambda: 0.0, **_: Any,
) -> None:  # fmt: skip
    """What `run_trials` does, without Ray."""
    bridge = Bridge(
        record, recipe_of, trials=trials, slots=1, limit_s=limit_s, reserved=reserved,
        watchers=watchers,
    )  # fmt: skip
    while (config := bridge.propose()) is not None:
        number, epoch = config["number"], config["last_epoch"]
        goes_on = True
        try:
            for result in train(config, job):
                if "within" in result:
                    goes_on = bridge.heard(number, {"number": number, "epoch": epoch, **result})
                elif result["epoch"] > config["last_epoch"]:
                    epoch = result["epoch"]
                    goes_on = bridge.heard(number, {"epoch": epoch, "result": json.dumps(result)})
                if not goes_on:
                    break
            ended = "complete"
        except RuntimeError as error:
            ended = f"error: {error}"
        if goes_on:
            bridge.heard(number, {"epoch": epoch, "final": True, "ended": ended})
    bridge.put_back_all()
    if bridge.failure is not None:
        raise bridge.failure


class Searched:
    """A search in a folder, with its trials run, as far as the refits."""

    def __init__(self, folder: Path, *flags: str) -> None:
        path = folder / "mine.py"
        path.write_text(SPACE.replace('"DATA"', repr(str(bright_squares(folder / "set.npz")))))
        self.plan = make_plan(load_space(path), parse([str(path), *flags]))
        self.data, self.loading = load_images(self.plan, ("bilinear",))
        self.run = RunDir(folder / "run")
        self.run.root.mkdir(exist_ok=True)
        self.folds, self.problem = cut_for_refits(self.plan, self.data, self.loading)
        context = Context(
            run=self.run, plan=self.plan, data=self.data, loading=self.loading,
            columns=("kernels", "lr"), began=0.0,
        )  # fmt: skip
        self.running = Running(
            context, slots=ONE, folds=None, refit_folds=self.folds, start_ray=lambda: None,
            say=lambda _: None,
        )  # fmt: skip
        with Record(self.run.study, name="run", seed=0, epochs=3, known=self.plan.known) as record:
            self.running.search(record, {})
            self.rows = record.rows()

    def refit(self, seconds_used: float = 0.0) -> Refitted:
        return self.running.refit(self.rows, seconds_used=seconds_used)

    def refit_rows(self) -> list[TrialRow]:
        return read_rows(self.run.refit_study, name="run.refits")

    def finish(self, final: Final | None) -> Finished:
        return finish(
            self.run, self.rows, self.data, self.plan.objective, demo=False, final=final,
            ensemble=self.plan.refits, refit_folds=self.folds or (),
        )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def no_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place whose trials have run, in a module where Ray never does."""
    place = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XFER_CACHE", str(place / "store"))
        patch.setenv("TORCH_HOME", str(place / "weights"))
        patch.setattr(search.experiment, "run_trials", in_process)
        Searched(place)
        yield place


@pytest.fixture
def place(tmp_path: Path, no_ray: Path) -> Path:
    """A copy of it."""
    shutil.copytree(no_ray / "run", tmp_path / "run")
    return tmp_path


# --------------------------------------------------------------------------------------------------
# Who is trained again


def row(number: int, value: float, *, name: str | None = None, kernels: int = 0) -> TrialRow:
    return TrialRow(
        number=number, name=name, state="complete", value=value, params={},
        recipe={"kernels": kernels or number}, best_epoch=1, seconds=2.0, ended="all epochs",
    )  # fmt: skip


@dataclass
class Kept:
    """A run's folder with checkpoints of its trials, and which of them may win."""

    run: RunDir
    may: set[int] = field(default_factory=lambda: set(range(100)))

    def finalists(self, rows: Sequence[TrialRow], *, keep: int) -> list[int]:
        return [one.number for one in finalists(self.run, rows, keep=keep)]

    def there(self) -> set[int]:
        return {int(path.name) for path in self.run.checkpoints.iterdir()}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    found = Kept(RunDir(tmp_path / "kept"))
    for number in range(10):
        found.run.checkpoint(number).mkdir(parents=True)
    monkeypatch.setattr("search.keeping.may_win", lambda _, number: number in found.may)
    return found


def test_the_best_that_may_win_and_the_first_known_one_are_trained_again(kept: Kept) -> None:
    rows = [row(0, 0.5, name="known"), *(row(n, n / 10) for n in range(1, 8))]
    assert kept.finalists(rows, keep=2) == [7, 6, 0]
    assert kept.finalists(rows, keep=7) == [7, 6, 0, 5, 4, 3, 2]
    kept.may = {1, 3, 6}
    assert kept.finalists(rows, keep=2) == [6, 3, 0]
    kept.may = set()
    assert kept.finalists(rows, keep=2) == []


def test_trials_of_one_recipe_are_trained_again_once_and_all_finalists_are_kept(
    kept: Kept,
) -> None:
    rows = [row(0, 0.9, name="a", kernels=4), row(1, 0.95, kernels=4), row(2, 0.8), row(3, 0.7)]
    assert kept.finalists(rows, keep=3) == [1, 2, 3]
    keep_best_checkpoints(kept.run, rows, keep=1, refits=3)
    assert {0, 1, 2, 3} <= kept.there()
    keep_best_checkpoints(kept.run, rows, keep=1, refits=1)
    assert kept.there() & {0, 1, 2, 3} == {0, 1}


def test_a_trial_whose_model_is_gone_is_no_finalist(kept: Kept) -> None:
    rows = [row(1, 0.9), row(2, 0.8), row(3, 0.7)]
    keep_best_checkpoints(kept.run, rows, keep=1, refits=1)
    assert kept.finalists(rows, keep=3) == [1]


def test_with_two_objectives_finalists_are_of_the_front(kept: Kept) -> None:
    rows = [
        replace(row(number, value), cost=cost)
        for number, value, cost in ((1, 0.9, 50.0), (2, 0.8, 60.0), (3, 0.7, 10.0))
    ]
    assert kept.finalists(rows, keep=3) == [1, 3]


def test_where_time_is_short_the_first_known_configuration_is_trained_again_before_others() -> None:
    rows = [row(5, 0.9), row(4, 0.8), row(3, 0.7, kernels=8), row(0, 0.5, name="known")]

    def numbers(limit: float | None, first: TrialRow | None) -> list[int]:
        found = affordable(rows, first, lambda some: 10.0 * len(some), limit_s=limit)
        return [one.number for one in found]

    for limit, expected in ((None, [5, 4, 3, 0]), (40, [5, 4, 3, 0]), (39, [5, 4, 0]),
                            (20, [5, 0]), (10, [5]), (9, [])):  # fmt: skip
        assert numbers(limit, rows[-1]) == expected
    assert numbers(20, row(1, 0.1, name="other", kernels=8)) == [5, 3]  # who stands for it
    assert numbers(20, rows[0]) == [5, 4]
    assert numbers(20, None) == [5, 4]


def test_finalists_that_there_is_no_time_for_are_named() -> None:
    rows = [row(5, 0.9), row(4, 0.8), row(0, 0.5)]
    assert left_out_said(rows, rows, 30) == ""
    assert left_out_said(rows, [rows[0], rows[2]], 120) == (
        "Of 3 finalists trial 4 was not trained again: all of them would have taken about "
        "2 minutes, and --minutes has half of its time for that."
    )
    assert left_out_said(rows, rows[:1], 30).startswith("Of 3 finalists trials 4, 0 were not ")


def test_refits_that_wait_and_are_no_finalists_any_more_are_passed_over(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    recipe = to_json(Recipe(model=ConvNet(kernels=(4,)), lr=0.1))
    rows = [replace(row(number, 0.9), recipe=recipe) for number in range(3)]
    recipe_of = recipes_again(rows)

    def opened(*wanted: int) -> RefitRecord:
        chosen = [rows[number] for number in wanted]
        return RefitRecord(run, chosen, seed=0, epochs=3, folds=2, about={})

    def names(some: Sequence[TrialRow]) -> list[str | None]:
        return [one.name for one in some]

    with opened(0, 1) as record:
        begun = record.ask(recipe_of)
        assert begun.name == "trial 0"
    with opened(1, 2) as record:
        assert record.requeue() == [begun.number]
        assert names(record.waiting()) == ["trial 1", "trial 2"]
        assert names(record.set_aside()) == ["trial 0"]
        assert [record.ask(recipe_of).name for _ in range(2)] == ["trial 1", "trial 2"]
        assert names(record.set_aside()) == ["trial 0"]
        record.requeue()
    with opened(0) as record:
        again = record.ask(recipe_of)
        assert (again.number, again.params) == (begun.number, {"trial": 0})
        assert names(record.set_aside()) == ["trial 1", "trial 2"]


def test_what_training_again_takes_is_what_it_took() -> None:
    rows = [row(0, 0.9), row(1, 0.8), row(2, 0.7)]
    assert expected_seconds(rows, folds=5, share=0.8, workers=2) == pytest.approx(12.0)
    assert expected_seconds(rows[:1], folds=5, share=1.0, workers=2) == pytest.approx(10.0)
    assert expected_seconds([], folds=5, share=1.0, workers=2) == 0.0


# --------------------------------------------------------------------------------------------------
# What decides


def refit(
    number: int, scores: Sequence[float], *, parameters: int, right: float = 0.9, may: bool = True
) -> Refit:
    labels = np.arange(200) % 2
    wrong = np.random.default_rng(number).random(200) > right
    sure: Any = np.where(wrong, -1.0, 1.0) * (2.0 * labels - 1.0)
    logits = np.stack([np.zeros(200), sure], axis=1)
    answers = OutOfFold(
        rows=np.arange(200), logits=logits, labels=labels, folds=len(scores),
        scores=tuple(scores), sizes=(200 // len(scores),) * len(scores),
    )  # fmt: skip
    return Refit(
        row=row(number, 0.9), answers=answers, scores=tuple(scores), parameters=parameters,
        eligible=may,
    )  # fmt: skip


def decided(place: Path, *refits: Refit) -> Final | None:
    searched = Searched(place)
    data: Any = replace(
        searched.data, patients=tuple(map(str, range(200))), subgroups=(None,) * 200
    )
    return decide(refits, data, searched.plan.objective)


def test_the_best_mean_wins_unless_a_simpler_one_is_within_the_margin(place: Path) -> None:
    large, small = refit(3, [0.93, 0.95], parameters=900), refit(5, [0.93, 0.942], parameters=10)
    final = decided(place, large, small)
    assert final is not None
    assert final.chosen is small
    assert [one["number"] for one in final.to_json()] == [3, 5]
    smaller = replace(small, scores=(0.93, 0.938))
    final = decided(place, large, smaller)
    assert final is not None
    assert final.chosen is large
    assert sum(final.probabilities) == pytest.approx(1.0)


def test_a_finalist_that_tells_nobody_apart_on_folds_cannot_win(place: Path) -> None:
    lucky = refit(1, [0.99, 0.99], parameters=5, may=False)
    true = refit(2, [0.8, 0.8], parameters=9)
    final = decided(place, lucky, true)
    assert final is not None
    assert final.chosen is true
    assert final.best(2) == [true.row]
    assert [text.split(" was ")[0] for text in final.passed_over()] == ["Trial 1"]
    assert decided(place, lucky) is None


def test_answers_of_folds_on_two_scales_are_compared_fold_by_fold(place: Path) -> None:
    plain = refit(1, [0.9, 0.9], parameters=5, right=0.9)
    scaled = refit(2, [0.95, 0.95], parameters=9, right=0.97)
    moved = scaled.answers.logits.copy()
    moved[100:, 1] += 30.0  # the second fold's model says so of everybody
    scaled = replace(scaled, answers=replace(scaled.answers, logits=moved))
    final = decided(place, plain, scaled)
    assert final is not None
    assert final.probabilities[1] > 0.9


def test_the_interval_of_a_mean_over_folds_knows_that_trainings_overlap() -> None:
    final = Final(
        refits=(refit(1, [0.8, 0.9, 0.85], parameters=1),),
        chosen=refit(1, [0.8, 0.9, 0.85], parameters=1),
        probabilities=(1.0,),
    )
    [told] = final.to_json()
    # s² = .0025; four fifths of two thirds are trained on, a third is tested: (1/3 + 5/8) s² has
    # a root of .0489473; t of 2 degrees is 4.302653.
    assert told["high"] - told["mean"] == pytest.approx(0.15)  # 1 is the most there is
    assert told["mean"] - told["low"] == pytest.approx(4.302653 * 0.0489473, rel=1e-5)


# --------------------------------------------------------------------------------------------------
# A whole run


def test_the_best_are_trained_on_all_folds_and_that_decides(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.basis, "_holds", lambda *_: True)
    searched = Searched(place, "--refits", "2")
    found = searched.refit()
    assert found.final is not None
    assert found.mark == ""
    expected = finalists(searched.run, searched.rows, keep=2)
    assert [one.row.number for one in found.final.refits] == [one.number for one in expected]
    asked = sorted(int(i) for part in ("train", "val") for i in searched.data.splits[part])
    for one in found.final.refits:
        assert sorted(one.answers.rows.tolist()) == asked
        assert len(one.scores) == 5
    done = searched.finish(found.final)
    assert done.best.number == found.final.chosen.row.number
    assert done.threshold is not None
    assert done.threshold["chosen_on"].startswith("140 images of 5 folds")
    assert done.finalists is not None
    assert {one["number"] for one in done.finalists} == {one.number for one in expected}
    assert done.ensemble is not None
    assert len(done.ensemble["trials"]) == 2
    counts = done.ensemble["confusion"]
    assert counts["tp"] + counts["fn"] == PARTS["test"] // 2
    assert done.controls is not None
    assert ENSEMBLE not in done.controls
    assert "difference" in done.ensemble

    # Asked again, nothing is trained again and nothing changes.
    def trains(*args: Any, **more: Any) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(search.experiment, "run_trials", trains)
    again = searched.refit()
    assert again.final is not None
    assert again.final.to_json() == found.final.to_json()
    assert searched.finish(again.final).test == done.test


def test_a_large_validation_part_gives_the_threshold_of_its_own_model(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.basis, "FEW", 20)
    searched = Searched(place, "--refits", "1")
    found = searched.refit()
    assert found.final is not None
    done = searched.finish(found.final)
    assert done.threshold is not None
    assert done.threshold["chosen_on"] == "validation, 40 images"


def test_a_refit_has_another_seed_than_the_trial_had(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    searched = Searched(place, "--refits", "2")

    def watched(record: Record, *_: Any, **__: Any) -> None:
        seeds.append(record.seed)

    monkeypatch.setattr(search.experiment, "run_trials", watched)
    searched.refit()
    assert len(seeds) == 1
    assert seeds[0] != searched.plan.options.seed


def test_without_refits_validation_decides_and_nothing_is_trained(place: Path) -> None:
    searched = Searched(place, "--refits", "0")
    assert searched.folds is None
    assert searched.refit().final is None
    assert not searched.run.refits.exists()
    done = searched.finish(None)
    assert (done.finalists, done.ensemble) == (None, None)
    assert done.threshold is not None
    assert done.threshold["chosen_on"] == "validation, 40 images"


def test_an_extended_search_does_not_train_what_is_no_finalist_any_more(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(place, "--refits", "1")
    best = finalists(searched.run, searched.rows, keep=1)[0]
    seen: list[tuple[list[str | None], int]] = []

    def stopped_at_once(record: RefitRecord, *_: Any, trials: int, **__: Any) -> None:
        seen.append(([one.name for one in record.waiting()], trials))

    monkeypatch.setattr(search.experiment, "run_trials", stopped_at_once)
    searched.refit()
    searched.rows = [
        replace(one, value=0.0, name=None) if one.number == best.number else one
        for one in searched.rows
    ]
    searched.refit()
    before, after = (names for names, _ in seen)
    assert f"trial {best.number}" in before
    assert f"trial {best.number}" not in after
    assert [trials for _, trials in seen] == [len(before), len(after)]
    assert [one.state for one in searched.refit_rows() if one.name == f"trial {best.number}"] == [
        "waiting"
    ]


@pytest.mark.slow
def test_a_search_that_is_extended_trains_only_new_finalists(place: Path) -> None:
    searched = Searched(place, "--refits", "1")
    searched.refit()
    before = {one.number for one in searched.refit_rows()}
    best = finalists(searched.run, searched.rows, keep=1)[0]
    searched.rows = [
        replace(one, value=0.0) if one.number == best.number else one for one in searched.rows
    ]
    found = searched.refit()
    assert found.final is not None
    after = searched.refit_rows()
    assert before < {one.number for one in after}
    assert all(one.state == "complete" for one in after)


# --------------------------------------------------------------------------------------------------
# What can go wrong


@pytest.mark.slow
def test_killed_between_two_folds_the_rest_is_trained_and_the_result_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(place, "--refits", "1")
    undisturbed = searched.refit().final
    assert undisturbed is not None
    shutil.rmtree(searched.run.refits)

    class Killed(BaseException):
        pass

    def killed(record: Record, recipe_of: Any, *, job: Job, **more: Any) -> None:
        config = Bridge(record, recipe_of, trials=9, slots=1).propose()
        assert config is not None
        for result in train(config, job):
            if "within" not in result and result["epoch"] == 2:
                raise Killed

    monkeypatch.setattr(search.experiment, "run_trials", killed)
    with pytest.raises(Killed):
        searched.refit()
    monkeypatch.setattr(search.experiment, "run_trials", in_process)
    again = searched.refit().final
    assert again is not None
    assert again.to_json() == undisturbed.to_json()


def test_where_time_is_up_validation_decides_and_it_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(place, "--refits", "2", "--minutes", "9")

    def late(record: Record, recipe_of: Any, **more: Any) -> None:
        assert more["limit_s"] == pytest.approx(1.5 * 40 + 60)
        more["limit_s"] = 1e-6
        in_process(record, recipe_of, **more)

    monkeypatch.setattr(search.experiment, "run_trials", late)
    found = searched.refit(seconds_used=500)
    assert found.final is None
    assert found.mark.startswith("Time was up before the best trials were trained again")


def test_as_many_are_trained_again_as_half_the_minutes_allow(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(place, "--refits", "3", "--minutes", "1")
    assert len(finalists(searched.run, searched.rows, keep=3)) == 4
    begun: list[int] = []
    monkeypatch.setattr(
        search.experiment, "run_trials", lambda *_, trials, **__: begun.append(trials)
    )
    # Five trainings on (5 - 1) / 5 * 4 / 5 of 140 images, for one on 100.
    share = sum(len(fold.train) for fold in searched.folds or ()) / 100
    for seconds, count in ((1.0, 4), (9.5 / share, 3), (14.5 / share, 2), (40.0, 0)):
        searched.rows = [replace(one, seconds=seconds) for one in searched.rows]
        shutil.rmtree(searched.run.refits, ignore_errors=True)
        begun.clear()
        found = searched.refit()
        assert found.mark.startswith("The best trials were not trained again") == (count == 0)
        assert begun == ([count] if count else [])
        assert found.mark.startswith("Of 4 finalists trial") == (count in (2, 3))
        if count:  # the first known configuration is among them
            assert "trial 0" in [one.name for one in searched.refit_rows()]


@pytest.mark.slow
def test_a_finalist_that_breaks_is_told_and_the_others_decide(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(place, "--refits", "3")
    first = finalists(searched.run, searched.rows, keep=3)[0].number

    trains = train

    def breaks(config: Any, job: Job) -> Any:
        if config["recipe"] == searched.rows[first].recipe:
            raise RuntimeError("no luck")
        return trains(config, job)

    monkeypatch.setattr("test_refits.train", breaks)
    found = searched.refit()
    assert found.final is not None
    assert first not in [one.row.number for one in found.final.refits]
    assert found.mark == f"Trial {first} could not be trained again: no luck."


def test_where_nothing_could_be_trained_again_nobody_is_called_useless(place: Path) -> None:
    searched = Searched(place)
    asked = searched.rows[:2]
    broken = [
        replace(
            one, number=i, name=f"trial {one.number}", state="infeasible", ended="out of memory"
        )
        for i, one in enumerate(asked)
    ]
    found = judge(searched.run, asked, broken, searched.data, searched.plan.objective, folds=5)
    assert found.final is None
    assert found.mark.count("could not be trained again: out of memory.") == 2
    assert "do not use" not in found.mark


def test_files_of_refits_that_are_gone_are_an_error_with_a_way_out(place: Path) -> None:
    searched = Searched(place, "--refits", "1")
    searched.refit()
    shutil.rmtree(searched.run.refit_checkpoints)
    with pytest.raises(RunError, match="refits, and --resume trains the best again"):
        searched.refit()


def test_where_all_break_the_search_still_has_a_winner(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(place, "--refits", "3")

    def hopeless(record: Record, recipe_of: Any, **more: Any) -> None:
        raise TrialsError("the first 3 trials all broke, so the search was stopped:\n  no luck")

    monkeypatch.setattr(search.experiment, "run_trials", hopeless)
    found = searched.refit()
    assert found.final is None
    assert "no luck" in found.mark


def test_folds_that_cannot_be_cut_are_an_error_only_where_refits_were_asked_for(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(place)
    one_patient = replace(searched.data, patients=("p",) * len(searched.data.labels))
    folds, said = cut_for_refits(searched.plan, one_patient, searched.loading)
    assert folds is None
    assert said.startswith("The best trials are not trained again: 5 folds cannot be cut")
    asked = make_plan(searched.plan.space, parse([searched.plan.options.space, "--refits", "2"]))
    with pytest.raises(DataError, match="5 folds cannot be cut"):
        cut_for_refits(asked, one_patient, searched.loading)


def test_the_time_that_refits_will_take_is_kept_for_them(place: Path) -> None:
    now = [0.0]
    with Record(place / "s.db", name="s", seed=0, epochs=3) as record:
        bridge = Bridge(
            record, Searched(place).plan.recipe, trials=5, slots=1, limit_s=100,
            reserved=lambda: 30.0, clock=lambda: now[0],
        )  # fmt: skip
        config = bridge.propose()
        assert config is not None
        report = {"epoch": 0, "within": 1.0}
        assert bridge.heard(config["number"], report)
        now[0] = 68.0
        assert bridge.heard(config["number"], report)
        now[0] = 70.0
        assert not bridge.heard(config["number"], report)
        assert bridge.stopping == "minutes"


@pytest.mark.slow
def test_a_search_on_ray_trains_its_best_again(tmp_path: Path) -> None:
    said = run(
        tmp_path, "spaces/digits.py", "--trials", "6", "--epochs", "4", "--minutes", "4",
        "--refits", "2",
    )  # fmt: skip
    assert "again, on 5 folds, to choose among them" in said
    result = result_of(tmp_path / "runs" / "digits")
    assert sum(one["probability"] for one in result["finalists"]) == pytest.approx(1.0)
    assert result["best"]["number"] in {one["number"] for one in result["finalists"]}
    assert result["best"]["chosen_by"] == "folds"
    assert result["best"]["corrected"]["by"] == "finalists"
