"""Protocol -> jobs: what must exist before the table can be drawn, each thing once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from bench import registry
from bench.data import participants
from bench.data.parts import Tested
from bench.data.roots import Contents, Roots
from bench.errors import BenchError, Misstated
from bench.job import Job
from bench.jobs.evaluate.spec import EvaluateSpec
from bench.jobs.finetune.spec import Candidate, FinetuneSpec
from bench.jobs.kind import EMBEDDINGS, MAPS, NetSpec
from bench.jobs.latency.spec import LatencySpec
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.jobs.scoring import Scoring
from bench.metrics.request import LATENCY, REGRESSION, Request, check_tasks, fitting, looped
from bench.plan import crop_faults, outside, specs
from bench.plan.arm import Arm, Labels
from bench.plan.cohorts import Cohorts, Target, check_folds, recipe_of
from bench.plan.dag import Cell, Plan, row_fault
from bench.plan.initialisation import Initialisation, check_embeddings
from bench.plan.pictures import Pictures
from bench.plan.pretrainings import Pretrainings
from bench.plan.selection import Selection
from bench.plan.tested import Test, covered, scored, stated, tests_of
from bench.protocol import Control, Finetune, Protocol, controls_of, finetune_of, labelled, mixture
from bench.protocol.model import recipes_of
from bench.protocol.sections import Inference, Initial, Windows
from bench.typed import narrowed

Weights = Literal["last", "best_val", "best_test"]
CUBES = (1, 3, 5, 9)  # voxels along a side, of the control that reads intensities


@dataclass(frozen=True)
class Tuned:
    """Weights that a fine-tuning leaves."""

    job: str
    initial: Initialisation
    variant: str  # what their row is called besides its name
    which: Weights


class Planner:
    """Expands protocols; remembers what it has looked up."""

    def __init__(
        self,
        roots: Roots,
        contents: Contents,
        only: dict[str, list[str]] | None = None,
        *,
        need_data: bool = True,
        processes: int = 1,
    ) -> None:
        self.cohorts, self.processes = Cohorts(roots, contents, need_data=need_data), processes
        self.selection, self.plan = Selection(only), Plan()
        self.pretrainings = Pretrainings(self.plan, self.cohorts)
        self.pictures = Pictures(self.pretrainings)
        self._feasible: set[str] = set()
        # by protocol, section, row and evaluate job
        self._cells: dict[tuple[str, str, str, str], list[Cell]] = {}

    def expand(self, protocol: Protocol) -> None:
        """Add every cell of a protocol and the jobs behind it."""
        for key in ("rows", "finetune"):
            if not getattr(protocol, key):
                text = f"protocol {protocol.name!r}: {key!r} is empty; nothing to compare"
                raise BenchError(text)
        self.selection.learn(protocol)
        self.plan.overrides = protocol.overrides
        tasks = {name: self._task(protocol, i) for i, name in enumerate(protocol.sections)}
        with protocol.at():
            check_tasks(protocol.metrics, tasks)
        for index, (name, section) in enumerate(
            zip(protocol.sections, protocol.finetune, strict=True)
        ):
            computed = fitting(protocol.metrics, tasks[name])
            judging = section.anchor.metric if section.anchor else ""
            if judging and judging not in computed:  # nothing would be judged by the anchor
                instead = f"name one of {', '.join(computed)}, or add it to 'metrics'"
                with protocol.at(("finetune", str(index))):
                    raise Misstated("anchor.metric", f"{judging!r} is not computed; {instead}")
        self._check_groups(protocol)
        label_maps = fitting(protocol.metrics, "segmentation") or ("dice",)
        Request.checked(label_maps, protocol.convention, protocol.empty or "default")
        self.plan.cells[protocol.name] = []
        sections = [
            (index, section)
            for index, section in enumerate(protocol.finetune)
            if section.external is None and self._concerns(protocol, index)
        ]
        for index, section in sections:  # all before any pretraining, which looks at every one
            with protocol.at(("finetune", str(index))):
                check_folds(section, self.cohorts.target(section).folds)
            for i in covered(protocol, index):
                other = protocol.finetune[i]
                with protocol.at(stated(protocol, i)):
                    recipe = recipe_of(other, section, self.cohorts)
                    self.pretrainings.recipe(protocol, other.dataset, recipe)
        for index, section in sections:
            self._section(protocol, index, section)

    def _check_groups(self, protocol: Protocol) -> None:
        """Refuse groups that a report could not make: before anything runs for it."""
        for name, grouping in protocol.groups.items():
            cases = self.cohorts.cases(name) or () if self.cohorts.roots.find(name) else ()
            if not (cases or grouping.file):
                continue
            labelled = [(c.id, c.patient) for c in cases if c.label is not None]
            with protocol.at(("groups", name)):
                try:
                    table = participants.of_grouping(grouping.file, protocol.folder, name, cases)
                    table.groups(labelled, grouping.by)
                except BenchError as error:
                    raise Misstated("by", str(error)) from None

    def _concerns(self, protocol: Protocol, index: int) -> bool:
        """Tell whether a section is asked for, itself or as a test elsewhere, or its data is here."""
        names = [protocol.finetune[i].dataset for i in covered(protocol, index)]
        return (
            any(self.selection.wants("dataset", name) for name in names)
            or self.cohorts.roots.find(names[0]) is not None
        )

    def _task(self, protocol: Protocol, index: int) -> str:
        """Return a section's task; a folder that is not here and not registered must be in MSD layout."""
        if protocol.finetune[index].value is not None:
            return REGRESSION
        name = protocol.finetune[index].dataset
        declared = name in registry.names("dataset") or self.cohorts.roots.find(name) is not None
        with protocol.at(("finetune", str(index))):
            return self.cohorts.dataset(name).task if declared else MAPS

    def finish(self) -> Plan:
        """Return the plan; a job that cannot work is a mistake."""
        cells = [(name, c) for name, cells in self.plan.cells.items() for c in cells if c.wanted]
        self.selection.check(self.plan.cells, bool(cells))
        for name, cell in cells:
            self._refuse(name, cell, cells)
        self.plan.roots = dict(self.cohorts.used)
        self.plan.provisional = self.cohorts.provisional or self.plan.files.lacking
        return self.plan

    def _refuse(self, protocol: str, cell: Cell, cells: Sequence[tuple[str, Cell]]) -> None:
        """Refuse a cell whose jobs cannot work; where it is for its crop, with all others that are."""
        jobs, context = self.plan.jobs, self.plan.context(self.processes)
        tried = [need for need in jobs[cell.finetune].needs if jobs[need].kind == "finetune"]
        for name in filter(None, (cell.pretrain, *tried, cell.finetune, cell.evaluate)):
            try:
                if self.cohorts.need_data:
                    self.plan.files.require(cell.columns["init"])
                if name not in self._feasible:
                    jobs[name].spec.refuse(jobs[name], context)
                    self._feasible.add(name)
            except BenchError as error:
                alike = [(other, c) for other, c in cells if other == protocol]
                if message := crop_faults.faults(self.plan, alike, context):
                    raise BenchError(f"protocol {protocol!r}: {message}") from None
                raise row_fault(protocol, cell.row, error) from None

    def _section(self, protocol: Protocol, index: int, section: Finetune) -> None:
        target = self.cohorts.target(section)
        scoring_of = self.plan.scoring_of.setdefault(protocol.name, {})
        for i in covered(protocol, index):
            scoring_of[protocol.sections[i]] = self._scoring(protocol, i, target)
        folds = target.folds_of(section)
        self.selection.add("fold", [fold.index for fold in folds])
        for name, row in protocol.rows_in(index).items():
            tuned = finetune_of(protocol, index, row)
            controls: tuple[Control | Literal[""], ...] = ("", *controls_of(protocol, row, index))
            for fold, control in product(folds, controls):
                arm = Arm(protocol, name, row, tuned, target, fold, index, control)
                with protocol.at(("rows", name, "finetune"), ("finetune", str(index))):
                    self._arm(arm)

    def _scoring(self, protocol: Protocol, index: int, trained: Target) -> Scoring:
        """Return how a section is scored whose weights were trained on a data set."""
        external = protocol.finetune[index].external
        if external is None:
            return specs.scoring(protocol, trained)
        with protocol.at(stated(protocol, index)):
            target = self.cohorts.target(protocol.finetune[index])
            return scored(specs.scoring(protocol, target), external, target, trained)

    def _arm(self, arm: Arm) -> None:
        # fresh weights are the same, however many pretrainings there are
        initials = [Initialisation()] if arm.control == "random" else self._initials(arm)
        for initial, percent, seed in product(initials, arm.tuned.fractions, arm.tuned.seeds):
            if initial.seed in (None, seed):
                labels = Labels.of(arm, percent, seed)
                finetune = self._tuned(arm, labels, initial, initials)
                self._evaluate(arm, labels, finetune, initial)

    def _initials(self, arm: Arm) -> list[Initialisation]:
        """Return what an arm's fine-tunings start from: each pretraining seed's is added to the plan."""
        method, name = registry.load("method", arm.row.method), arm.name
        with arm.protocol.at(("rows", name)):
            try:
                arm.method  # noqa: B018 - also where nothing is pretrained: names are checked
            except BenchError as error:
                raise Misstated("params", str(error)) from None
        if not method.pretrains:
            return [Initialisation()]
        if arm.row.init:
            start = self.plan.files.start(arm.protocol.folder, arm.row.init, self.cohorts.contents)
            with arm.protocol.at(("rows", name)):
                check_embeddings(
                    Initial.of(arm.row.init), arm.protocol.folder, arm.target, arm.fold
                )
            return [start]
        at = f"@{arm.row.at}" if arm.row.at else ""
        sections = ("rows", name, "pretrain"), ("finetune", str(arm.index), "pretrain")
        with arm.protocol.at(*sections, ("pretrain",)):
            seeds = arm.before.every_seed(arm.tuned.seeds)
            jobs = {seed: self.pretrainings.add(arm, seed) for seed in seeds}
        if arm.before.paired:
            return [Initialisation(f"job:{job}{at}", job, seed) for seed, job in jobs.items()]
        return [Initialisation(f"job:{job}{at}", job) for job in dict.fromkeys(jobs.values())]

    def _tuned(
        self, arm: Arm, labels: Labels, initial: Initialisation, initials: Sequence[Initialisation]
    ) -> str:
        """Add a fine-tuning; under a grid, those of every recipe and the job that takes over the best."""
        recipes = recipes_of(arm.protocol, arm.index, arm.tuned)
        arms = [replace(arm, tuned=recipe) for _, recipe in recipes]
        first = self._finetuning(arms[0], labels, initial)
        tune = arm.tuned.tune if arm.tuned.is_trained else None
        folds = tune.folds(len(labels.train)) if tune else []
        alike = not folds or len({self._finetuning(a, labels, initial).id for a in arms}) == 1
        if (
            tune is None or alike
        ):  # the grid varies nothing that concerns this row, or nobody can decide
            return self._add(arm, labels, initial, first)
        needs, candidates = list(first.needs), dict[str, Candidate]()
        runs = tune.runs if isinstance(tune.runs, int) else len(arm.tuned.seeds)
        others, inner = tune.runs == "others", None not in folds
        # under inner folds no run is taken over, so none has to be of the own seed: the first seeds decide for all
        begin = arm.tuned.seeds[0] if inner and not others else labels.seed
        seeds = specs.in_turn(arm.tuned.seeds, begin, runs)
        tried = [(seed, fold) for seed in seeds[others and inner :] for fold in folds]
        for (settings, _), recipe_arm in zip(recipes, arms, strict=True):
            indices = list[int]()
            for seed, fold in tried:
                start = next(i for i in (initial, *initials) if i.seed in (None, seed))
                run = Labels.of(arm, labels.data.fraction, seed, fold)
                tuning = self._finetuning(recipe_arm, run, start, validated=True)
                job = self._add(recipe_arm, run, start, tuning)
                needs += [] if job in needs else [job]
                indices.append(needs.index(job))
            candidate = Candidate(settings, tuple(indices), others and not inner, inner)
            candidates.setdefault(needs[indices[0]], candidate)
        spec = replace(first.spec_as(FinetuneSpec), tune=tuple(candidates.values()))
        return self._add(arm, labels, initial, Job(spec, tuple(needs)))

    def _finetuning(
        self, arm: Arm, labels: Labels, initial: Initialisation, *, validated: bool = False
    ) -> Job:
        """Return the fine-tuning of an arm under one recipe; ``validated``: a grid chooses by its score."""
        target, tuned, percent = arm.target, arm.tuned, labels.data.fraction
        used = target.count(labels.train)
        full = target.count(Labels.of(arm, 100, labels.seed).train)
        prepare = self.pretrainings.prepare(arm.protocol, target.name, tuned.recipe)
        net = NetSpec.of(arm.net, self.pretrainings.channels([prepare], arm.net.crop))
        channels = specs.head(target, tuned).channels
        scoring = self.plan.scoring_of[arm.protocol.name][arm.section]
        steps = specs.held(tuned, full, used, percent)
        epoch = specs.epoch(used, tuned.crops, tuned.batch)
        tuning = replace(specs.tuned(tuned, scoring, steps, epoch), validated=validated)
        if initial.init == "random":
            tuning = specs.from_scratch(tuning)
        if arm.control == "intensity":
            tuning = replace(tuning, probe=replace(tuning.probe, levels=(), intensity=CUBES))
        if arm.control == "long":
            tuning = specs.longer(tuning, self.pretrainings.samples(arm))
        spec = FinetuneSpec(
            network=replace(net, out_channels=channels, hidden=tuned.hidden),
            init=initial.init,
            data=labels.data,
            finetune=tuning,
            seed=labels.seed,
            control="shuffled" if arm.control == "shuffled" else "",
            given=initial.given,
            dose=arm.row.dose,
        )
        if specs.without_seed(spec):
            spec = replace(spec, seed=0)
        if tuning.validates or tuning.track:
            specs.has_judges(spec, arm.fold)
            usual = Test(arm.section, target, arm.fold, prepare)
            predicted = narrowed(Inference, self._evaluation(arm, usual, spec, "last").inference)
            spec = replace(spec, finetune=replace(tuning, inference=predicted))
        return Job(spec, (prepare, *([initial.pretrain] if initial.pretrain else [])))

    def _add(self, arm: Arm, labels: Labels, initial: Initialisation, job: Job) -> str:
        """Add a fine-tuning, with the cases that its curve looks at and the guards it waits for."""
        name, track = self.plan.add(job), job.spec_as(FinetuneSpec).finetune.track
        self._state(arm, name, job)
        if track is not None:
            looked_at = getattr(labels, track.part) if arm.target.present else ()
            self.plan.sizes[name] = arm.target.count(looked_at)
        # else a pretraining that is done already would pass unguarded
        if initial.pretrain is not None:
            self.plan.wait(name, self.pretrainings.guards[initial.pretrain, arm.protocol.name])
        return name

    def _state(self, arm: Arm, name: str, job: Job) -> None:
        """Keep what the row says of the file that a fine-tuning starts from."""
        with arm.protocol.at(("rows", arm.name)):
            row = outside.stated(arm, self.plan.spec(job.needs[0], PrepareSpec).recipe)
        rows = self.plan.stated.setdefault(name, []) if row is not None else []
        if row is not None and row not in rows:
            rows.append(row)

    def _evaluation(
        self, arm: Arm, test: Test, tuned: FinetuneSpec, weights: Weights
    ) -> EvaluateSpec:
        """Return how a fine-tuning's test cases are predicted."""
        data, target = tuned.data, test.target
        with arm.protocol.at(("rows", arm.name)):
            outputs = outside.outputs(arm)
            if test.relabel and tuned.given.own_head:
                raise Misstated("init", "labels: are not those of 'test_on'; leave one of them out")
        return EvaluateSpec(
            data=Tested(
                **vars(target.part(test.fold, "test")),
                task=data.task,
                paint=outputs.paint or data.paint,
                ignore=target.dataset.void,
                relabel=outputs.relabel or test.relabel,
            ),
            weights=weights,
            inference=Windows.side_by_side(tuned.network.crop)
            if tuned.probes
            else narrowed(Windows, arm.tuned.inference, crop=tuned.network.crop),
            seen=data.task == MAPS and any(map(looped, arm.protocol.metrics)),
        )

    def _submission(self, arm: Arm, evaluation: EvaluateSpec, needs: tuple[str, ...]) -> str | None:
        """Return the job that predicts for the challenge's server, None where no such case is here."""
        target, submitted = arm.target, arm.tuned.submit
        if not submitted:
            return None
        if not target.dataset.submission:
            raise BenchError(
                f"finetune.submit: bench has no submission format for data set {target.name!r}; leave it out"
            )
        number = self.cohorts.matching(target, submitted)
        if target.present and not number:
            return None
        tested = evaluation.data
        data = Tested(
            dataset=target.name,
            part="all",
            task=tested.task,
            paint=tested.paint,
            where={**target.narrowed.where, **submitted},
            exclude=target.narrowed.exclude,
            ignore=tested.ignore,
        )
        job = self.plan.add(Job(replace(evaluation, data=data, submission=True), needs))
        self.plan.sizes[job] = number
        return job

    def _evaluate(self, arm: Arm, labels: Labels, finetune: str, initial: Initialisation) -> None:
        """Add the evaluations of a fine-tuning, and the cells that stand on them."""
        select = self.plan.spec(finetune, FinetuneSpec).finetune.select
        variants: list[tuple[str, Weights]] = [("", select)]
        if select == "best_test":
            variants.append(("last", "last"))
        for test in tests_of(arm, self.pretrainings, self.cohorts):
            for variant, weights in variants:
                self._cell(arm, labels, Tuned(finetune, initial, variant, weights), test)

    def _cell(self, arm: Arm, labels: Labels, weights: Tuned, test: Test) -> None:
        """Add the evaluation of one fine-tuning's weights on one data set, and its cell."""
        protocol, target, plan, initial = arm.protocol, arm.target, self.plan, weights.initial
        tuned = plan.spec(weights.job, FinetuneSpec)
        scoring = plan.scoring_of[protocol.name][test.section]
        latency = None
        if LATENCY in protocol.metrics:
            latency = plan.add(Job(LatencySpec(tuned.network, tuned.data.task)))
        before = plan.spec(initial.pretrain, PretrainSpec) if initial.pretrain else None
        needs = (weights.job, test.prepare)
        evaluation = self._evaluation(arm, test, tuned, weights.which)
        job = plan.add(Job(evaluation, needs))
        if test.guard is not None:
            plan.wait(job, test.guard)
        is_own = test.section == arm.section
        submission = self._submission(arm, evaluation, needs) if is_own else None
        plan.sizes[job] = test.target.count(test.fold.test)
        if scoring not in plan.scoring.setdefault(job, []):
            plan.scoring[job].append(scoring)
        name = labelled(arm.label, weights.variant)
        columns = {
            **_columns(arm, labels, tuned, before),
            **_tested(test),
            "row": name,
            "convention": f"{protocol.convention}/{scoring.empty}" if scoring.task == MAPS else "",
        }
        cell = Cell(
            name,
            job,
            weights.job,
            initial.pretrain,
            columns,
            self._cell_wanted(arm, columns),
            self.pretrainings.guards.get((initial.pretrain or "", protocol.name)),
            latency,
            self.pictures.add(arm, initial),
            submission=submission,
            curve=is_own and tuned.finetune.track is not None and not weights.variant,
            epoch=specs.epoch(target.count(labels.train), arm.tuned.crops, tuned.finetune.batch),
            patients=(labels.counts if is_own else (0, 0, len(test.fold.test)))
            if arm.fold.train
            else (),
        )
        alike = self._cells.setdefault((protocol.name, test.section, cell.row, job), [])
        if cell not in alike:  # a seed that stands twice counts once
            alike.append(cell)
            plan.cells[protocol.name].append(cell)
        for used in (initial.pretrain, weights.job, job, latency, submission):
            if used is not None:
                plan.threads[used] = protocol.threads

    def _cell_wanted(self, arm: Arm, columns: dict[str, Any]) -> bool:
        return (
            self.selection.wants("row", arm.name, columns["row"])
            and self.selection.wants("method", arm.row.method)
            and self.selection.wants("network", arm.row.network, arm.net.network)
            and self.selection.wants("section", arm.section, columns["section"])
            and all(
                self.selection.wants(k, columns[k]) for k in ("dataset", "fraction", "fold", "seed")
            )
        )


def _columns(
    arm: Arm, labels: Labels, spec: FinetuneSpec, before: PretrainSpec | None
) -> dict[str, Any]:
    """Return what the records say of a cell besides its scores, its name and their convention."""
    protocol, net = arm.protocol, spec.network
    source = "file" if spec.init.startswith(("file:", EMBEDDINGS)) else "none"
    return {
        "protocol": protocol.name,
        "paper": protocol.paper,
        "table": protocol.table,
        "scale": protocol.scale,
        "method": arm.row.method,
        "network": f"{net.network}/{net.preset}",
        "params": (before or arm).method.differing,
        "pretrain": mixture.title(arm.before) if before else source,
        "pretrain_seed": before.seed if before else 0,
        "init": spec.init,
        "evaluation": arm.tuned.evaluation,
        "fraction": spec.data.fraction,
        "n_train": labels.labelled,
        "fold": arm.fold.index,
        "seed": labels.seed,
    }


def _tested(test: Test) -> dict[str, Any]:
    """Return what the records say of the patients that are tested."""
    return {
        "section": test.section,
        "dataset": test.target.name,
        "task": test.target.task,
        "split": test.fold.name,
        "split_hash": test.fold.digest if test.target.present else "",
    }
