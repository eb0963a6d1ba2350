"""The plan as JSON (public contract) and as a tree for a person."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import digest, records, registry
from bench.errors import Damaged, enumerated, printable
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.kind import GPU_STEP, TERAFLOPS_PER_GPU
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.jobs.training_kind import TrainingKind
from bench.phantoms.synthetic import is_synthetic
from bench.plan import Plan, crop_faults
from bench.plan.cost import forecast, load
from bench.protocol import Protocol, base_of, is_control
from bench.protocol.sections import FEW_JUDGES, JUDGES
from bench.show.words import counted, duration, smallest_to_largest
from bench.store import Store

if TYPE_CHECKING:
    from bench.executors.slurm.profile import Profile

FEW = 4  # protocols that are told row by row
PATIENCE = 60 * 86400.0  # seconds; what takes this processor longer does not run here
WAIT = 60.0  # seconds from which it matters who else works here
SPEED = f"{TERAFLOPS_PER_GPU:g} TFLOP/s, at most {1 / GPU_STEP:g} steps a second"
ASSUMED = f"on one GPU (assumed: {SPEED}; --gpu CARD counts each step, memory and disk)"


@dataclass(frozen=True)
class Costs:
    """Seconds of each job, None where nobody knows; on one GPU of training alone."""

    seconds: dict[str, float | None]
    gpu: bool = False

    @property
    def where(self) -> str:
        """Where that is, in words."""
        return " of training on one GPU" if self.gpu else ""


def as_json(plan: Plan, store: Store, *, away: bool = False) -> dict[str, Any]:
    """Return ``{"provisional", "jobs": [{id, kind, needs, done, spec, estimate}]}``.

    Args:
        plan: the jobs.
        store: what is done.
        away: do they run elsewhere? Then nothing is forecast for this machine's processor.
    """
    wanted = plan.wanted()
    costs = dict.fromkeys(wanted) if away else forecast(plan, store, wanted)
    jobs = []
    for job in (plan.jobs[name] for name in wanted):
        seconds, gpu = costs[job.id], job.spec.gpu_seconds()
        estimate = {  # on this machine's processor, and of its training on one GPU
            "seconds": None if seconds is None else round(seconds, 1),
            "gpu_seconds": None if gpu is None else round(gpu, 1),
        }
        done = records.done(plan, store, job.id)
        jobs.append({"id": job.id, **job.plain(), "done": done, "estimate": estimate})
    return {"provisional": plan.provisional, "jobs": jobs}


def as_text(plan: Plan, store: Store, protocols: Sequence[Protocol], *, away: bool = False) -> str:
    """Return what is left and its cost, then each protocol's rows; of many protocols a line for each.

    ``away``: do jobs run elsewhere, or can some not run here? Nothing is forecast for this processor then.
    """
    wanted = plan.wanted()
    done = {job for job in store.present(wanted) if records.done(plan, store, job)}
    costs = _costs(plan, store, wanted, done, away)
    lines = [_total(plan, [j for j in wanted if j not in done], costs)]
    if plan.provisional:
        lines.append(
            "provisional: some data or weights are not on this machine, so ids and costs may change"
        )
    lines += _changed(plan, store)
    if len(protocols) > FEW:
        lines += _shared(plan, done, protocols)
    for protocol in protocols if len(protocols) <= FEW else ():
        lines += [f"{_called(protocol)}: {protocol.title}"]
        lines += _rows(plan, done, protocol, costs)
        lines += _safeguards(plan, done, protocol, costs)
        lines += _patients(plan, protocol)
        lines += (f"  {text}" for text in crop_faults.oversized(plan, protocol.name))
    return "\n".join(map(printable, lines))


def _costs(plan: Plan, store: Store, wanted: list[str], done: set[str], away: bool) -> Costs:
    """Return what jobs take here; on a GPU where they run elsewhere, or take this processor too long."""
    forecasts = {} if away else forecast(plan, store, wanted)
    if away or sum(forecasts[job] or 0.0 for job in wanted if job not in done) > PATIENCE:
        return Costs({job: plan.jobs[job].spec.gpu_seconds() for job in wanted}, gpu=True)
    return Costs(forecasts)


def _changed(plan: Plan, store: Store) -> list[str]:
    """Say which data is not what it was when it was prepared here: all that read it is to do again."""
    unprepared = (
        j for j in plan.jobs.values() if isinstance(j.spec, PrepareSpec) and not store.done(j.id)
    )
    todo = [job.plain()["spec"] for job in unprepared]
    lines = []
    for folder in sorted(store.jobs.glob("*")) if todo else []:
        try:
            before = (digest.manifest(folder) or {}).get("spec", {})
        except Damaged:  # 'bench run' and 'bench verify' say so
            continue
        for spec in todo:
            differing = {k for k in spec if spec[k] != before.get(k)}
            if differing == {"contents"} and spec["contents"] is not None:
                lines.append(
                    f"{spec['dataset']}: its files changed since job {folder.name} prepared them; "
                    "every job that depends on them must run again"
                )
    return lines


def _shared(plan: Plan, done: set[str], protocols: Sequence[Protocol]) -> list[str]:
    """Return a table of what each protocol asks for, and what is saved where they share jobs."""
    from tabulate import SEPARATING_LINE, tabulate

    hours = {job: _gpu_hours(plan, [job]) for job in plan.jobs if job not in done}

    def line(name: str, cells: int, jobs: list[str]) -> list[Any]:
        todo = [job for job in jobs if job not in done]
        specs = (plan.jobs[job].spec for job in todo)
        unsized = [
            spec for spec in specs if isinstance(spec, TrainingKind) and not spec.training.steps
        ]
        return [name, cells, len(jobs), len(todo), sum(hours[job] for job in todo), len(unsized)]

    rows = []
    for protocol in protocols:
        cells = sum(cell.wanted for cell in plan.cells[protocol.name])
        rows.append(line(_called(protocol), cells, plan.wanted(protocol=protocol.name)))
    alone = ["each by itself", *(sum(row[i] for row in rows) for i in range(1, 6))]
    union = line("together", alone[1], plan.wanted())
    saved = ["sharing saves", "", *(a - u for a, u in zip(alone[2:], union[2:], strict=True))]
    headers = ["protocol", "cells", "jobs", "to do", "GPU-hours", "trainings of unknown length"]
    table = [*rows, SEPARATING_LINE, alone, union, saved]
    text = tabulate(table, headers, tablefmt="simple", floatfmt=",.1f", intfmt=",")
    note = f"GPU-hours count the training to do whose length is known, {ASSUMED}."
    return [*text.splitlines(), "", note]


def _called(protocol: Protocol) -> str:
    """Return a protocol's name, and its scale where it has several."""
    return f"{protocol.name} ({protocol.scale})" if protocol.scaled else protocol.name


def _gpu_hours(plan: Plan, jobs: Sequence[str]) -> float:
    """Return what training takes on one GPU, as far as steps are known."""
    return sum(plan.jobs[job].spec.gpu_seconds() or 0.0 for job in jobs) / 3600


def _rows(plan: Plan, done: set[str], protocol: Protocol, costs: Costs) -> list[str]:
    """Return what each row is, each training once: later rows that score the same weights say so."""
    lines = []
    asked_for = [c for c in plan.cells[protocol.name] if c.wanted]
    order = list(protocol.rows)
    rows = dict.fromkeys(c.row for c in asked_for)
    trained: dict[str, str] = {}  # job: the row under which its training stands
    for row in sorted(rows, key=lambda row: order.index(base_of(protocol, row))):
        cells = [c for c in asked_for if c.row == row]
        finished = sum(c.evaluate in done for c in cells)
        tuned = [j for j in dict.fromkeys(c.finetune for c in cells) if j not in trained]
        seconds = costs.seconds
        if tuned:
            tuned += [job for job in _tried(plan, tuned) if job not in trained]
            scored = [seconds[job] for job in dict.fromkeys(c.evaluate for c in cells)]
            cost = _cost([seconds[job] for job in tuned], scored, len(cells), costs.where)
            way = f"{cost}, {_way(plan.spec(tuned[0], FinetuneSpec))}"
        else:
            others = dict.fromkeys(trained[c.finetune] for c in cells)
            way = f"trains nothing, scores weights of {', '.join(others)}"
        lines.append(f"  {row}: {len(cells)} cells, {finished} done, {way}")
        pretrained = list(dict.fromkeys(c.pretrain for c in cells if c.pretrain))
        shared = dict.fromkeys(trained[job] for job in pretrained if job in trained)
        if shared and tuned:
            lines.append(f"    pretrained as {', '.join(shared)}")
        for job in pretrained:
            lines += [] if job in trained else _pretraining(plan, job, done, costs)
        trained = dict.fromkeys([*pretrained, *tuned], row) | trained
    return lines


def _tried(plan: Plan, tuned: Iterable[str]) -> list[str]:
    """Return the fine-tunings among which some take over the best."""
    taken = (plan.jobs[job] for job in tuned if plan.spec(job, FinetuneSpec).tune)
    return [
        need
        for need in dict.fromkeys(chain.from_iterable(job.needs for job in taken))
        if plan.jobs[need].kind == "finetune"
    ]


def _safeguards(plan: Plan, done: set[str], protocol: Protocol, costs: Costs) -> Iterator[str]:
    """Yield what the controls and each row's choice of a recipe cost, and how to do without."""
    cells = [cell for cell in plan.cells[protocol.name] if cell.wanted]
    every = plan.wanted(protocol=protocol.name)

    def cost(jobs: Iterable[str]) -> float:
        return sum(costs.seconds[job] or 0.0 for job in jobs if job not in done)

    total = cost(every)

    def share(seconds: float) -> str:
        part = f" ({100 * seconds / total:.0f} % of the plan)" if total else ""
        return f"about {duration(seconds)}{costs.where}{part}"

    controls = dict.fromkeys(cell.row for cell in cells if is_control(protocol, cell.row))
    if controls and protocol.controls:
        ends = {end for cell in cells if cell.row in controls for end in cell.ends}
        others = {end for cell in cells if cell.row not in controls for end in cell.ends}
        alone = ends - others
        without = {*plan.wanted(lambda job: job in alone, protocol.name)}
        seconds = cost(job for job in every if job not in without)
        yield f"  controls ({', '.join(controls)}): {share(seconds)}; 'controls: []' leaves them out"
    for name, section in zip(protocol.sections, protocol.finetune, strict=True):
        own = [c for c in cells if c.columns["section"] == name]
        taken = [c for c in own if plan.spec(c.finetune, FinetuneSpec).tune]
        if section.tune is None or not taken:
            continue
        jobs = dict.fromkeys(c.finetune for c in taken)
        tried = _tried(plan, jobs)
        # what is taken over is one of them; under inner folds it trains besides
        more = share(cost(tried) * (1 - (section.tune.on == "val") * len(jobs) / len(tried)))
        judges = JUDGES[section.tune.on]
        fewest = min((c.patients[1] for c in taken if c.patients), default=FEW_JUDGES)
        if section.tune.on == "val" and fewest < FEW_JUDGES:
            judges += f" ({fewest}; with fewer than {FEW_JUDGES} use 'on: folds')"
        yield (
            f"  tune ({name}): {len(tried)} fine-tunings choose the recipes of {len(jobs)}, by {judges}: {more}; "
            "'tune: null' leaves it out"
        )
        single = {c.columns["fraction"] for c in own if c.patients and c.patients[0] == 1}
        if section.tune.on == "folds" and single:
            shares = enumerated([f"{percent} %" for percent in sorted(single)])
            yield f"  tune ({name}): at {shares} one patient is labelled, so the first recipe is taken"


def _pretraining(plan: Plan, job: str, done: set[str], costs: Costs) -> list[str]:
    """Return what a pretraining is, what it costs, and what it reads."""
    spec, seconds = plan.spec(job, PretrainSpec), costs.seconds[job]
    state = "done" if job in done else "to do"
    shown = "unknown cost" if seconds is None else f"about {duration(seconds)}{costs.where}"
    steps = spec.pretrain.steps or "?"
    lines = [f"    pretrain {job} {spec.method.name}, {steps} steps: {state}, {shown}"]
    if spec.probe is not None:
        lines.append(f"      {spec.probe.text}")
    if job in plan.scans:
        scans, unlabelled = plan.scans[job]
        note = f", {unlabelled} of them unlabelled" if unlabelled else ""
        lines.append(f"      pretrains on {scans} scans{note}")
    return lines


def _cost(
    training: list[float | None], predicting: list[float | None], cells: int, where: str
) -> str:
    """Return what a cell costs in the mean; without data nobody knows how many cases it predicts."""
    trained, predicted = ([s for s in part if s is not None] for part in (training, predicting))
    if len(trained) < len(training):
        return "unknown cost"
    if where:
        return f"about {duration(sum(trained) / cells)} a cell{where}"
    if len(predicted) < len(predicting):
        return f"about {duration(sum(trained) / cells)} to train a cell"
    return f"about {duration((sum(trained) + sum(predicted)) / cells)} a cell"


def _patients(plan: Plan, protocol: Protocol) -> list[str]:
    """Return how many patients train, validate and are tested at each fraction, and which are the same.

    Fractions are prefixes of one ranking: as many patients of one fold and seed are the same ones.
    """
    counts: dict[tuple[str, str], dict[int, list[tuple[int, ...]]]] = {}
    for cell in (c for c in plan.cells[protocol.name] if c.wanted and c.patients):
        of = counts.setdefault((cell.columns["dataset"], cell.columns["split"]), {})
        of.setdefault(cell.columns["fraction"], []).append(cell.patients)
    lines = []
    for (dataset, split), of in counts.items():
        sizes = {
            percent: [smallest_to_largest(part) for part in zip(*of[percent], strict=True)]
            for percent in sorted(of)
        }
        each = ", ".join(f"{' / '.join(parts)} at {percent} %" for percent, parts in sizes.items())
        lines.append(f"  {dataset}, split {split}: patients that train / validate / test {each}")
        caution = registry.declared("dataset", dataset, "caution", "")
        if caution and not is_synthetic(Path(plan.roots.get(dataset, "."))):
            lines.append(f"  {dataset}: {caution}")
        for size in dict.fromkeys(train for train, *_ in sizes.values()):
            same = [f"{percent} %" for percent, (train, *_) in sizes.items() if train == size]
            if len(same) > 1 and size != "0":
                who = "patient" if size == "1" else "patients"
                lines.append(f"  {dataset}: {enumerated(same)} train on the same {size} {who}")
    return lines


def _way(spec: FinetuneSpec) -> str:
    """Return what a fine-tuning is, in a few words: settings that a file brought should surprise nobody."""
    tuning, crop = spec.finetune, "x".join(map(str, spec.network.crop))
    if tuning.evaluation == "as_loaded":
        return "trains nothing, scores the weights as they are loaded"
    head = " on regions" if tuning.head == "regions" else ""
    if tuning.evaluation == "probe":
        return f"{tuning.probe.kind} probe, windows of {crop}{head}"
    return f"{tuning.steps or '?'} steps of {tuning.batch} x {crop}, {tuning.optimiser.name}{head}"


def limits(plan: Plan, seconds: Mapping[str, float], profile: Profile) -> list[str]:
    """Return what a cluster's limits mean for the trainings to do.

    Args:
        plan: has the jobs.
        seconds: what each job to do takes there.
        profile: states the time limit of a task, what is packed into it, and the cap on GPUs.
    """
    most = profile.max_gpus
    lines = [] if most is None else [f"at most {most} GPUs at once (max_gpus)"]
    if not profile.asks_for_gpus:
        lines.append("the profile asks for no GPU ('gpus' is 0), so tasks train on CPUs")
    if profile.minutes is None:
        return lines
    limit = 60.0 * profile.minutes
    tuned, pretrained = (
        max((took for job, took in seconds.items() if plan.jobs[job].kind == kind), default=0.0)
        for kind in ("finetune", "pretrain")
    )
    parts = []
    if 0 < tuned <= limit:
        room = int(limit / tuned)
        parts.append(
            f"has time for {room:,} cells of {duration(tuned)} ('pack' puts {profile.pack} into it)"
        )
    elif tuned:
        parts.append(_goes_on("fine-tuning", tuned, limit))
    if pretrained:
        parts.append(_goes_on("pretraining", pretrained, limit))
    return [*lines, *(f"a task of {profile.minutes} minutes: {part}" for part in parts)]


def _goes_on(what: str, seconds: float, limit: float) -> str:
    """Return whether the longest training ends within the limit of a task; both in seconds."""
    more = math.ceil(seconds / limit) - 1
    how = f"is saved at the limit and goes on in {more} more" if more else "fits into it"
    return f"the longest {what} ({duration(seconds)}) {how}"


def _total(plan: Plan, todo: list[str], costs: Costs) -> str:
    parts = counted(plan.jobs[job].kind for job in todo) or "nothing"
    seconds = sum(costs.seconds[j] or 0.0 for j in todo)
    unknown = sum(costs.seconds[j] is None for j in todo)
    text = f"{len(plan.wanted())} jobs, to do: {parts}; about {duration(seconds)}"
    if costs.gpu:
        return f"{text} of training {ASSUMED}" + (
            f" and {unknown} jobs of unknown cost" if unknown else ""
        )
    text += " on this processor" + (f" and {unknown} jobs of unknown cost" if unknown else "")
    if seconds > 36_000:
        text += f", or {duration(3600 * _gpu_hours(plan, todo))} of training {ASSUMED}"
    wanting, cores = load()
    if seconds > WAIT and wanting > 1.5 * cores:
        text += f"; longer while others use this processor, as they do now (load {wanting:.0f} on {cores} cores)"
    return text
