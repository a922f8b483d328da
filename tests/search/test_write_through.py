"""What is in memory of a study is what its database says, whatever happens to it."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from recorded import EPOCHS, picture, play, result_of, space

from search.bridge import Bridge
from search.study import Record

DOES = {2: "memory", 4: "error", 5: "nan", 7: "early"}


def opened(folder: Path, **more: Any) -> Record:
    return Record(folder / "study.db", name="s", seed=3, epochs=EPOCHS, **more)


def disagreements(record: Record, folder: Path) -> list[tuple[Any, Any]]:
    """Trials in memory and in the file, where they differ in anything."""
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/study.db")
    there, here = study.trials, record.study.get_trials(deepcopy=False)
    assert len(there) == len(here)
    return [(a, b) for a, b in zip(here, there, strict=True) if _text(a) != _text(b)]


def _text(trial: Any) -> str:
    """All that a trial holds, attributes by name; in text, where NaN equals itself."""
    attributes = {
        name: sorted(vars(trial)[name].items()) for name in ("_user_attrs", "_system_attrs")
    }
    return repr(vars(trial) | attributes)


def test_after_each_event_memory_is_what_the_database_says(tmp_path: Path) -> None:
    with opened(tmp_path, known={"good": {"lr": 1e-3}}) as record:
        differ: list[Any] = []
        bridge = Bridge(
            record, space, trials=14, slots=1,
            watchers=[lambda event: differ.extend(disagreements(record, tmp_path))],
        )  # fmt: skip
        play(bridge, lambda number: DOES.get(number, ""))
        assert differ == []
        assert record.counts()["complete"] > 3
        before = picture(record)
        rows = record.rows()
    with opened(tmp_path) as again:
        assert picture(again) == before
        assert repr(again.rows()) == repr(rows)


def test_a_search_on_a_file_is_the_search_in_memory(tmp_path: Path) -> None:
    with (
        opened(tmp_path) as on_file,
        Record(optuna.storages.InMemoryStorage(), name="s", seed=3, epochs=EPOCHS) as in_memory,
    ):
        for record in (on_file, in_memory):
            bridge = Bridge(record, space, trials=14, slots=1)
            play(bridge, lambda number: DOES.get(number, ""))
        assert picture(on_file) == picture(in_memory)


def test_a_step_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with opened(tmp_path) as record:
        asked = record.ask(space)
        result = result_of(asked.recipe, 1)
        with monkeypatch.context() as patch:
            patch.setattr(RDBStorage, "_set_trial_intermediate_value_without_commit", killed)
            with pytest.raises(KeyboardInterrupt):
                record.report(asked.number, result)
        assert disagreements(record, tmp_path) == []
        [row] = record.rows()
        assert (row.scores, row.seconds) == ({}, 0)
        record.report(asked.number, result)
        [row] = record.rows()
        assert (list(row.scores), row.seconds) == ([1], 0.25)


def test_what_a_write_that_failed_left_behind_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RDBStorage.set_trial_user_attr

    def lost(storage: RDBStorage, *arguments: Any) -> None:
        write(storage, *arguments)
        raise ConnectionError("the answer was lost")

    with opened(tmp_path) as record:
        number = record.ask(space).number
        with monkeypatch.context() as patch:
            patch.setattr(RDBStorage, "set_trial_user_attr", lost)
            with pytest.raises(ConnectionError):
                record.requeue_one(number, "gone")
        assert record.study.trials[number].user_attrs["deaths"] == 1
        assert disagreements(record, tmp_path) == []


def test_trials_given_out_stay_as_they_were(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        asked = record.ask(space)
        [before] = record.study.get_trials(deepcopy=False)
        record.report(asked.number, result_of(asked.recipe, 1, math.nan))
        assert before.intermediate_values == {}
        assert "seconds" not in before.user_attrs
        assert before.state == optuna.trial.TrialState.RUNNING
