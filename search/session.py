"""How does one command become a finished search? The steps, in order, and what each leaves behind.

    load and check -> claim a folder -> images -> forecast -> trials -> winner, test, report

Everything that can be wrong with what the user gave is found before a folder is claimed. From then
on whatever ends the process, a resumed run goes on from the study.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.check.inspection import Inspection, inspect
from search.errors import SpaceError, TrialsError
from search.finish import Folded, finish
from search.forecast import said
from search.images import cut, load_images
from search.keeping import keep_all_answers, keep_best_checkpoints
from search.manifest import check_data, file_digest, new_manifest, resumed_manifest
from search.messages import together
from search.opening import Sealed
from search.options import Options
from search.outcome import Context, write_outcome, write_trials
from search.outlook import foresee
from search.plan import Plan, make_plan
from search.rundir import RunDir, create_run, resume_run
from search.screen import Say, tell_end, tell_findings, tell_parts, tell_plan
from search.space import load_space
from search.strict import refuse_findings
from search.trials import EpochDone, Event, TrialEnded, trial_seed

if TYPE_CHECKING:
    from search.study import Record
    from search.workers import Slots
    from xfer.data.folds import Fold


class Interrupted(Exception):
    """Ctrl-C or SIGTERM after the run had begun; its text is the command that goes on with it."""


def search(options: Options, *, argv: Sequence[str], say: Say) -> None:
    """Runs a search, or goes on with one.

    Args:
        options: the command line's.
        argv: the same as it was typed, for the manifest.
        say: prints a line for people.

    Raises:
        SearchError, XferError: what the user gave is wrong, or no trial could be finished.
        Interrupted: Ctrl-C, with everything on disk.
    """
    from search.workers import plan as plan_slots
    from xfer.models.weights import fetch

    began = time.monotonic()
    run = old = None
    manifest: dict[str, Any] = {}
    if options.resume:
        run = resume_run(options.out, name=options.name, stem=Path(options.space).stem)
        old = run.read_json(run.manifest)
        options = options.resumed(old["plan"]["options"])
    # A demo's models are what was on this machine when it began.
    models = None if old is None else old["plan"]["models"]
    plan = make_plan(load_space(options.space), options, at_hand=models)
    if run is not None and old is not None:
        manifest = resumed_manifest(run, old, plan, argv=argv)
    inspection = inspect(plan)
    tell_plan(plan, inspection, say)
    if inspection.checked.problems:
        raise SpaceError(together(inspection.checked.problems))
    slots = plan_slots(workers=options.workers, gpus_per_trial=options.gpus_per_trial)
    ahead = foresee(plan, inspection, slots)
    for line in said(ahead):
        say(line)
    if ahead.problems():
        raise SpaceError(together(ahead.problems()))
    if options.dry_run:
        return
    fetch(inspection.checked.backbones, offline=options.offline, progress=True)
    if run is None:
        run = create_run(options.out, name=options.name, stem=plan.space.path.stem)
        manifest = new_manifest(run, plan, argv=argv)
    with run.lock():
        run.write_text(run.space, plan.space.text)
        run.write_json(run.manifest, manifest)
        try:
            _run(
                run, plan, inspection, slots=slots, manifest=manifest, old=old, began=began, say=say
            )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted(options.resume_command(run.name)) from None


def _run(
    run: RunDir,
    plan: Plan,
    inspection: Inspection,
    *,
    slots: Slots,
    manifest: dict[str, Any],
    old: Mapping[str, Any] | None,
    began: float,
    say: Say,
) -> None:
    """Everything from the claimed folder on."""
    from search.study import Record, storage_told
    from xfer.data.audit import audit

    say(f"Run: {run.root}")
    data, loading = load_images(plan, inspection.checked.interpolations)
    about = {"digest": loading.digest, "images": loading.images, "patients": loading.patients}
    if old is not None:
        check_data(run, old, about)
    tell_parts(inspection, loading, say)
    found = audit(data, loading)
    run.write_json(run.audit, found.to_json())
    tell_findings(found.findings, say)
    if plan.options.strict:  # before the data are on record: a resumed run may have mended ones
        resume = plan.options.resume_command(run.name)
        refuse_findings(found.findings, where=str(run.audit), resume=resume)
    manifest |= {
        "workers": {
            "workers": slots.workers, "threads": slots.threads, "device": slots.device,
            "gpus_per_trial": slots.gpus_per_trial,
        },
        "data": about,
        "weights": _weights(inspection.checked.backbones),
    }  # fmt: skip
    run.write_json(run.manifest, manifest)
    folds = cut(plan, data, loading)
    columns = inspection.checked.ranges
    context = Context(
        run=run, plan=plan, data=data, loading=loading, columns=tuple(columns), began=began
    )  # fmt: skip
    storage = run.study if plan.options.storage is None else plan.options.storage
    with (
        storage_told(),
        Record(
            storage,
            name=run.name,
            seed=plan.options.seed,
            epochs=plan.budget.epochs,
            folds=plan.options.folds,
            known=plan.known,
            about={"space": plan.space.path.name, "objective": plan.objective.name},
        ) as record,
    ):
        folded = sealed = None
        if not plan.demo:
            contents = [loading.digests[i] for i in data.splits["test"]]
            sealed = Sealed(contents=contents, run_id=manifest["begun"])
        if folds is not None:
            folded = Folded(seed=plan.options.seed, threads=slots.threads)
        try:
            _search(context, inspection, record, slots=slots, folds=folds, say=say)
            finished = finish(
                run,
                record.rows(),
                data,
                plan.objective,
                demo=plan.demo,
                facts=found.facts,
                sealed=sealed,
                reopen_test=plan.options.reopen_test,
                folded=folded,
                about={"run": run.name, "space": plan.space.path.name, "seed": plan.options.seed}
                | ({"splits": " ".join(loading.marks)} if loading.marks else {}),
            )
        except KeyboardInterrupt:
            write_outcome(context, record.rows(), None, interrupted=True)
            raise
        except TrialsError:
            write_outcome(context, record.rows(), None)
            raise
        rows = record.rows()
        keep_best_checkpoints(run, rows, keep=plan.options.keep)
        result = write_outcome(context, rows, finished)
    tell_end(run, result, say)


def _search(
    context: Context,
    inspection: Inspection,
    record: Record,
    *,
    slots: Slots,
    folds: tuple[Fold, ...] | None,
    say: Say,
) -> None:
    """Runs the trials that are left."""
    from search.experiment import run_trials
    from search.progress import Progress
    from search.tensorboard import TensorBoard
    from search.worker import Job
    from search.workers import start_ray
    from xfer.contact_sheet import contact_sheet
    from xfer.evaluate.objectives import best_constant
    from xfer.models.interpolation import interpolation_of
    from xfer.recipe import from_json
    from xfer.steps import strata

    plan, run, data = context.plan, context.run, context.data
    columns = inspection.checked.ranges
    record.requeue()
    left = plan.budget.trials - record.told
    used = record.seconds_used
    minutes = plan.budget.minutes
    rest = None if minutes is None else 60 * minutes - used
    if left <= 0:
        say(f"All {plan.budget.trials} trials are told; --trials with a larger number adds some.")
        return
    if rest is not None and rest <= 0:
        say(f"The {minutes:g} minutes are used; --minutes with a larger number adds some.")
        return
    say(f"Watch: tensorboard --logdir {run.tensorboard}")
    workers = f"{slots.workers} worker" + ("s" if slots.workers > 1 else "")
    say(f"Starting Ray and {workers}; the first epochs come in half a minute or so.")
    job = Job(
        data=data.without("test"),
        objective=plan.objective,
        checkpoints=run.checkpoints,
        threads=slots.threads,
        device=slots.device,
        folds=folds,
    )
    progress = Progress(
        run=run.name,
        trials=plan.budget.trials,
        epochs=plan.budget.epochs,
        folds=plan.options.folds,
        several_classes=data.positive is None,
        constant=best_constant(
            plan.objective,
            data.labels[data.splits["val"]],
            classes=len(data.classes),
            subgroups=strata(plan.objective, data, data.splits["val"]),
        ),
        minutes=None if rest is None else rest / 60,
        demo=plan.demo,
        told=record.rows(),
    )

    def sheet(number: int, recipe: Mapping[str, Any]) -> Any:
        seen = from_json(recipe)
        pixels = job.data.interpolated(interpolation_of(seen.model))
        return contact_sheet(seen, pixels, seed=trial_seed(record.seed, number))

    with (
        start_ray(slots, address=plan.options.address),
        TensorBoard(run.tensorboard, columns, sheet=sheet) as tensorboard,
    ):
        begun: list[float] = []  # when the first epoch did

        def keep(event: Event) -> None:
            if isinstance(event, EpochDone):
                begun.append(time.monotonic() - event.result["seconds"])
                del begun[1:]
                record.seconds_used = used + time.monotonic() - begun[0]
            if isinstance(event, TrialEnded):
                rows = record.rows()
                write_trials(context, rows)
                keep_all_answers(run, rows, data, plan.objective, folds=folds is not None)
                keep_best_checkpoints(run, rows, keep=plan.options.keep)

        with progress:
            run_trials(
                record,
                plan.recipe,
                job=job,
                slots=slots,
                trials=plan.budget.trials,
                out=run.ray,
                limit_s=rest,
                watchers=(progress, tensorboard, keep),
            )


def _weights(backbones: Sequence[str]) -> dict[str, dict[str, str]]:
    """File and digest of every backbone's weights."""
    from xfer.models.weights import weights_file

    files = {name: weights_file(name) for name in backbones}
    return {
        name: {"file": str(file.path), "digest": file_digest(file.path)}
        for name, file in files.items()
    }
