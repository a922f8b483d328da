"""How does one command become a finished search? The steps, in order, and what each leaves behind.

    load and check -> claim a folder -> images -> forecast -> trials -> the best of them again
    -> winner, test, report

Everything that can be wrong with what the user gave is found before a folder is claimed. From then
on whatever ends the process, a resumed run goes on from the study.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.check.inspection import Inspection, inspect
from search.errors import SearchError, SpaceError, TrialsError
from search.finish import finish
from search.forecast import said
from search.images import cut, cut_for_refits, drawn_said, load_images
from search.joined import Joined, slots_of_cluster
from search.keeping import keep_best_checkpoints
from search.known_tests import refuse_unfinished
from search.manifest import check_data, file_digest, new_manifest, resumed_manifest
from search.messages import together
from search.opening import Sealed
from search.options import Options
from search.outcome import Context, write_outcome
from search.outlook import foresee
from search.plan import Plan, make_plan
from search.prefixes import feature_store
from search.rundir import RunDir, create_run, resume_run
from search.screen import Say, tell_end, tell_findings, tell_parts, tell_plan
from search.skill import constant_of
from search.space import load_space
from search.strict import refuse_findings
from search.whole import Folded

if TYPE_CHECKING:
    from search.measuring import Measured


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
    taken, told = _studies_there(options, new=run is None)
    if problems := [*inspection.checked.problems, *told]:
        raise SpaceError(together(problems))
    begun = (old or {}).get("workers")  # a run that goes on keeps its number of workers
    workers = begun["workers"] if begun and options.workers is None else options.workers
    if options.address is None:
        slots = plan_slots(workers=workers, gpus_per_trial=options.gpus_per_trial)
    else:
        slots = slots_of_cluster(options, workers=workers, say=say)
    far = options.address is not None
    ahead, measured = foresee(
        plan, inspection, slots, run=run, asked=workers is not None or far, elsewhere=far,
        recorded=old,
    )  # fmt: skip
    for line in said(ahead):
        say(line)
    if ahead.problems():
        raise SpaceError(together(ahead.problems()))
    if options.dry_run:
        return
    fetch(inspection.checked.backbones, offline=options.offline, progress=True)
    if run is None:
        stem = plan.space.path.stem
        run = create_run(options.out, name=options.name, stem=stem, taken=taken)
        manifest = new_manifest(run, plan, argv=argv)
    with run.lock():
        run.write_text(run.space, plan.space.text)
        run.write_json(run.manifest, manifest)
        try:
            _run(
                run, plan, inspection, measured=measured, manifest=manifest, old=old, began=began,
                say=say,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted(options.resume_command(run.name)) from None


def _run(
    run: RunDir,
    plan: Plan,
    inspection: Inspection,
    *,
    measured: Measured,
    manifest: dict[str, Any],
    old: Mapping[str, Any] | None,
    began: float,
    say: Say,
) -> None:
    """Everything from the claimed folder on."""
    from search.running import Running
    from search.starting import start_ray
    from search.study import NEVER, Record, storage_told
    from xfer.data.audit import audit

    slots = measured.slots
    say(f"Run: {run.root}")
    data, loading = load_images(plan, inspection.checked.interpolations)
    about = {"digest": loading.digest, "images": loading.images, "patients": loading.patients}
    if old is not None:
        check_data(run, old, about)
    tell_parts(inspection, loading, say)
    found = audit(data, loading, folds=plan.options.folds)
    run.write_json(run.audit, found.to_json())
    tell_findings(found.findings, say)
    if plan.options.strict:  # before the data are on record: a resumed run may have mended ones
        resume = plan.options.resume_command(run.name)
        refuse_findings(found.findings, where=str(run.audit), resume=resume)
    manifest |= {
        "workers": measured.to_json(),
        "speed": measured.speed.to_json(),
        "data": about,
        "weights": _weights(inspection.checked.backbones),
    }  # fmt: skip
    run.write_json(run.manifest, manifest)
    folds = cut(plan, data, loading)
    refit_folds, problem = cut_for_refits(plan, data, loading)
    columns = inspection.checked.ranges
    context = Context(
        run=run, plan=plan, data=data, loading=loading, columns=tuple(columns), began=began,
        constant=constant_of(plan.objective, data, folds), findings=found.findings,
        features=feature_store(plan, inspection.checked.recipes),
    )  # fmt: skip
    storage = run.study if plan.options.storage is None else plan.options.storage
    with (
        ExitStack() as ray,
        storage_told(),
        Record(
            storage,
            name=run.name,
            seed=plan.options.seed,
            epochs=plan.budget.epochs,
            folds=plan.options.folds,
            known=plan.known,
            minimise=plan.objective.minimise,
            pruner=NEVER if plan.options.known_only else None,
            about={
                "space": plan.space.path.name,
                "objective": plan.objective.name,
                "begun": manifest["begun"],
            },
        ) as record,
    ):
        folded = sealed = joined = None
        if not plan.demo:
            contents = [data.image_digests[i] for i in data.splits["test"]]
            sealed = Sealed(contents=contents, run_id=manifest["begun"])
        if folds is not None:
            folded = Folded(seed=plan.options.seed, threads=slots.threads)
        if plan.options.address is not None:
            grows = plan.options.workers is None
            joined = Joined(backbones=tuple(inspection.checked.backbones), grows=grows)
        running = Running(
            context,
            slots=slots,
            folds=folds,
            refit_folds=refit_folds,
            joined=joined,
            start_ray=lambda: ray.enter_context(start_ray(slots, address=plan.options.address)),
            say=say,
        )
        try:
            running.search(record, columns)
            if plan.options.known_only:
                refuse_unfinished(record.rows(), plan, name=run.name)
            refitted = running.refit(record.rows(), seconds_used=record.seconds_used)
            ray.close()
            remarks = (drawn_said(plan), plan.altered, *loading.marks, problem, refitted.mark)
            finished = finish(
                run,
                record.rows(),
                data,
                plan.objective,
                demo=plan.demo,
                facts=found.facts,
                sealed=sealed,
                reopen_test=plan.options.reopen_test,
                experiments=plan.options.known_only and folds is None,
                folded=folded,
                final=refitted.final,
                ensemble=plan.refits,
                refit_folds=refit_folds or folds or (),
                remarks=[t for t in remarks if t],
                about={"run": run.name, "space": plan.space.path.name, "seed": plan.options.seed},
            )
        except KeyboardInterrupt:
            write_outcome(context, record.rows(), None, interrupted=True)
            raise
        except TrialsError:
            write_outcome(context, record.rows(), None)
            raise
        rows = record.rows()
        keep_best_checkpoints(run, rows, keep=plan.options.keep, refits=plan.refits)
        result = write_outcome(
            context,
            rows,
            finished,
            again=refitted,
            worker_seconds=record.seconds_used * slots.workers,
        )
    tell_end(run, result, say)


def _studies_there(options: Options, *, new: bool) -> tuple[frozenset[str], list[str]]:
    """Names of the studies in a storage that others may use too, and what is wrong with it."""
    from search.study.storage import study_names

    if options.storage is None:
        return frozenset(), []
    try:
        names = study_names(options.storage)
    except SearchError as error:
        return frozenset(), [str(error).removesuffix(".")]
    if new and options.name in names:
        return names, [f"--storage has a study {options.name!r} already: choose another --name"]
    return names, []


def _weights(backbones: Sequence[str]) -> dict[str, dict[str, str]]:
    """File and digest of every backbone's weights."""
    from xfer.models.weights import weights_file

    files = {name: weights_file(name) for name in backbones}
    return {
        name: {"file": str(file.path), "digest": file_digest(file.path)}
        for name, file in files.items()
    }
