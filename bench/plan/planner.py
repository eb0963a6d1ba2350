"""Protocol -> jobs: what must exist before the table can be drawn, each thing once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, Literal

from bench import registry
from bench.data import split as splits
from bench.data.parts import Labelled, Tested
from bench.data.roots import Contents, Roots
from bench.errors import BenchError, Misstated
from bench.job import Job
from bench.jobs.evaluate.spec import EvaluateSpec
from bench.jobs.finetune.spec import Candidate, FinetuneSpec
from bench.jobs.kind import MAPS, NetSpec
from bench.jobs.latency.spec import LatencySpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.metrics.request import LATENCY, Request, check_tasks, fitting, looped
from bench.plan import specs
from bench.plan.arm import Arm, Labels
from bench.plan.cohorts import Cohorts, check_folds
from bench.plan.dag import Cell, Plan
from bench.plan.initialisation import Initialisation
from bench.plan.pictures import Pictures
from bench.plan.pretrainings import Pretrainings
from bench.plan.selection import Selection
from bench.protocol import Finetune, Protocol, controls_of, finetune_of, labelled, mixture
from bench.protocol.model import recipes_of
from bench.protocol.sections import Inference, Windows
from bench.typed import narrowed

Weights = Literal["last", "best_val", "best_test"]


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
        # by protocol, row and evaluate job
        self._cells: dict[tuple[str, str, str], list[Cell]] = {}

    def expand(self, protocol: Protocol) -> None:
        """Add every cell of a protocol and the jobs behind it."""
        for key in ("rows", "finetune"):
            if not getattr(protocol, key):
                raise BenchError(
                    f"protocol {protocol.name!r}: {key!r} is empty; nothing to compare"
                )
        self.selection.learn(protocol)
        self.plan.overrides = protocol.overrides
        tasks = {
            section.dataset: self._task(protocol, i) for i, section in enumerate(protocol.finetune)
        }
        with protocol.at():
            check_tasks(protocol.metrics, tasks)
        self._anchors(protocol, tasks)
        label_maps = fitting(protocol.metrics, "segmentation") or ("dice",)
        Request.checked(label_maps, protocol.convention, protocol.empty or "default")
        self.plan.cells[protocol.name] = []
        sections = [
            (index, section)
            for index, section in enumerate(protocol.finetune)
            if self.selection.wants("dataset", section.dataset)
            or self.cohorts.roots.find(section.dataset) is not None
        ]
        for index, section in sections:  # all before any pretraining, which looks at every one
            with protocol.at(("finetune", str(index))):
                check_folds(section, self.cohorts.target(section).folds)
        for index, section in sections:
            self._section(protocol, index, section)

    def _anchors(self, protocol: Protocol, tasks: Mapping[str, str]) -> None:
        """Refuse an anchor of a metric that is not computed: nothing would be judged by it."""
        for index, section in enumerate(protocol.finetune):
            computed = fitting(protocol.metrics, tasks[section.dataset])
            asked = section.anchor.metric if section.anchor else ""
            if asked and asked not in computed:
                instead = f"name one of {', '.join(computed)}, or add it to 'metrics'"
                with protocol.at(("finetune", str(index))):
                    raise Misstated("anchor.metric", f"{asked!r} is not computed; {instead}")

    def _task(self, protocol: Protocol, index: int) -> str:
        """Return a data set's task; a folder that is not here and not registered must be in MSD layout."""
        name = protocol.finetune[index].dataset
        known = name in registry.names("dataset") or self.cohorts.roots.find(name) is not None
        with protocol.at(("finetune", str(index))):
            return self.cohorts.dataset(name).task if known else "segmentation"

    def finish(self) -> Plan:
        """Return the plan; a job that cannot work is a mistake."""
        wanted = any(cell.wanted for cells in self.plan.cells.values() for cell in cells)
        self.selection.check(self.plan.cells, wanted)
        for name, cells in self.plan.cells.items():
            for cell in cells:
                if cell.wanted:
                    self._refuse(name, cell)
        self.plan.roots = dict(self.cohorts.used)
        self.plan.provisional = self.cohorts.provisional or self.plan.files.lacking
        return self.plan

    def _refuse(self, protocol: str, cell: Cell) -> None:
        tried = [
            n for n in self.plan.jobs[cell.finetune].needs if self.plan.jobs[n].kind == "finetune"
        ]
        for job in (cell.pretrain, *tried, cell.finetune, cell.evaluate):
            try:
                if self.cohorts.need_data:
                    self.plan.files.require(cell.columns["init"])
                if job is not None and job not in self._feasible:
                    made = self.plan.jobs[job]
                    made.spec.refuse(made, self.plan.context(self.processes))
                    self._feasible.add(job)
            except BenchError as error:
                raise BenchError(f"protocol {protocol!r}, row {cell.row!r}: {error}") from None

    def _section(self, protocol: Protocol, index: int, section: Finetune) -> None:
        target = self.cohorts.target(section)
        self.plan.scoring_of.setdefault(protocol.name, {})[protocol.sections[index]] = (
            specs.scoring(protocol, target)
        )
        folds = [f for f in target.folds if section.folds is None or f.index in section.folds]
        for name, row in protocol.rows_in(index).items():
            tuned = finetune_of(protocol, index, row)
            for fold in folds:
                arm = Arm(protocol, name, row, tuned, target, fold, index)
                for one in [
                    arm,
                    *(replace(arm, control=c) for c in controls_of(protocol, row, index)),
                ]:
                    with protocol.at(("rows", name, "finetune"), ("finetune", str(index))):
                        self._arm(one)

    def _arm(self, arm: Arm) -> None:
        # fresh weights are one, however many pretrainings
        initials = [Initialisation()] if arm.control == "random" else self._initials(arm)
        for initial, percent, seed in product(initials, arm.tuned.fractions, arm.tuned.seeds):
            if initial.seed not in (None, seed):
                continue
            labels = self._labels(arm, percent, seed)
            self._evaluate(arm, labels, self._tuned(arm, labels, initial, initials), initial)

    def _initials(self, arm: Arm) -> list[Initialisation]:
        """Return what an arm's fine-tunings start from: each pretraining seed's is added to the plan."""
        method = registry.load("method", arm.row.method)
        with arm.protocol.at(("rows", arm.name)):
            try:
                arm.method  # noqa: B018 - also where nothing is pretrained: names are checked
            except BenchError as error:
                raise Misstated("params", str(error)) from None
        if not method.pretrains:
            return [Initialisation()]
        if arm.row.init:
            return [self.plan.files.start(arm.protocol.folder, arm.row.init, self.cohorts.contents)]
        at = f"@{arm.row.at}" if arm.row.at else ""
        own = (
            ("rows", arm.name, "pretrain"),
            ("finetune", str(arm.index), "pretrain"),
            ("pretrain",),
        )
        with arm.protocol.at(*own):
            jobs = {
                s: self.pretrainings.add(arm, s) for s in arm.before.every_seed(arm.tuned.seeds)
            }
        if arm.before.paired:
            return [Initialisation(f"job:{job}{at}", job, seed) for seed, job in jobs.items()]
        return [Initialisation(f"job:{job}{at}", job) for job in dict.fromkeys(jobs.values())]

    def _labels(self, arm: Arm, percent: int, seed: int) -> Labels:
        if not arm.target.present and not arm.fold.train:
            return Labels(percent, seed, ())
        what = f"{arm.target.name}, split {arm.fold.name!r}"
        return Labels(
            percent,
            seed,
            tuple(splits.fraction(arm.fold.train, percent, arm.fold.name, seed, what)),
        )

    def _tuned(
        self, arm: Arm, labels: Labels, initial: Initialisation, initials: Sequence[Initialisation]
    ) -> str:
        """Add a fine-tuning; under a grid, those of every recipe and the job that takes over the best."""
        recipes = recipes_of(arm.protocol, arm.index, arm.tuned)
        arms = [replace(arm, tuned=recipe) for _, recipe in recipes]
        first = self._finetuning(arms[0], labels, initial)
        tune = None if arm.tuned.evaluation == "as_loaded" else arm.tuned.tune
        if tune is None or len({self._finetuning(one, labels, initial).id for one in arms}) == 1:
            # or its grid varies nothing that concerns this row
            return self._add(arm, labels, initial, first)
        needs, candidates = list(first.needs), dict[str, Candidate]()
        for (settings, _), one in zip(recipes, arms, strict=True):
            places = list[int]()
            for seed in specs.in_turn(arm.tuned.seeds, labels.seed, tune.runs):
                start = next(other for other in (initial, *initials) if other.seed in (None, seed))
                drawn = self._labels(one, labels.percent, seed)
                job = self._add(
                    one, drawn, start, self._finetuning(one, drawn, start, validated=True)
                )
                needs += [] if job in needs else [job]
                places.append(needs.index(job))
            candidates.setdefault(needs[places[0]], Candidate(settings, tuple(places)))
        spec = first.spec_as(FinetuneSpec)
        return self._add(
            arm, labels, initial, Job(replace(spec, tune=tuple(candidates.values())), tuple(needs))
        )

    def _finetuning(
        self, arm: Arm, labels: Labels, initial: Initialisation, *, validated: bool = False
    ) -> Job:
        """Return the fine-tuning of an arm under one recipe; ``validated``: a grid chooses by its score."""
        target, tuned, seed = arm.target, arm.tuned, labels.seed
        everybody = splits.ranked(arm.fold.train, arm.fold.name, seed)
        full, used = (target.count(specs.trained(p, tuned)) for p in (everybody, labels.patients))
        prepare = self.pretrainings.prepare(arm.protocol, target.name, tuned.recipe)
        head, task = specs.head(target, tuned), target.dataset.task
        scoring = self.plan.scoring_of[arm.protocol.name][arm.section]
        steps = specs.held(tuned, full, used, labels.percent)
        net = NetSpec.of(arm.net, self.pretrainings.channels([prepare], arm.net.crop))
        data = Labelled(
            **vars(target.division(arm.fold)),
            task=task,
            fraction=labels.percent,
            holdout=tuned.holdout,
            n_train=len(labels.patients) if target.present else None,
            regions=head.regions,
            paint=head.paint,
            ignore=target.dataset.void,
        )
        spec = FinetuneSpec(
            network=replace(net, out_channels=head.channels, hidden=tuned.hidden),
            init=initial.init,
            data=data,
            finetune=specs.tuned(
                tuned, scoring, steps, specs.epoch(used, tuned.crops, tuned.batch)
            ),
            seed=seed,
            control="shuffled" if arm.control == "shuffled" else "",
            given=initial.given,
            dose=arm.row.dose,
        )
        if initial.init == "random":
            spec = replace(spec, finetune=specs.from_scratch(spec.finetune))
        if arm.control == "long":
            spec = replace(
                spec, finetune=specs.longer(spec.finetune, self.pretrainings.samples(arm))
            )
        spec = replace(spec, finetune=replace(spec.finetune, validated=validated))
        if spec.finetune.validates or spec.finetune.track:
            specs.has_judges(spec, arm.fold)
            predicted = narrowed(Inference, self._evaluation(arm, spec, "last").inference)
            spec = replace(spec, finetune=replace(spec.finetune, inference=predicted))
        return Job(spec, (prepare, *([initial.pretrain] if initial.pretrain else [])))

    def _add(self, arm: Arm, labels: Labels, initial: Initialisation, made: Job) -> str:
        """Add a fine-tuning, with the cases that its curve looks at and the guards it waits for."""
        job, spec = self.plan.add(made), made.spec_as(FinetuneSpec)
        if spec.finetune.track is not None:
            part, full_val = spec.finetune.track.part, arm.tuned.val == "full"
            drawn = arm.target.present
            looked_at = (
                splits.drawn(arm.fold, spec.data, part, labels.seed, full=full_val) if drawn else ()
            )
            self.plan.sizes[job] = arm.target.count(looked_at)
        # else a pretraining that is done already would pass unguarded
        if initial.pretrain is not None:
            self.plan.wait(job, self.pretrainings.guards[initial.pretrain, arm.protocol.name])
        return job

    def _evaluation(self, arm: Arm, tuned: FinetuneSpec, weights: Weights) -> EvaluateSpec:
        """Return how a fine-tuning's test cases are predicted."""
        part = vars(arm.target.part(arm.fold, "test"))
        return EvaluateSpec(
            data=Tested(
                **part, task=tuned.data.task, paint=tuned.data.paint, ignore=tuned.data.ignore
            ),
            weights=weights,
            inference=narrowed(Windows, arm.tuned.inference, crop=tuned.network.crop),
            seen=tuned.data.task == MAPS and any(map(looped, arm.protocol.metrics)),
        )

    def _submission(
        self, arm: Arm, tuned: FinetuneSpec, weights: Weights, needs: tuple[str, ...]
    ) -> str | None:
        """Return the job that predicts for the challenge's server, None where no such case is here."""
        target, wanted = arm.target, arm.tuned.submit
        if not wanted:
            return None
        if not target.dataset.submission:
            raise BenchError(
                f"finetune.submit: what a server takes of data set {target.name!r} is not known; leave it out"
            )
        number = self.cohorts.matching(target, wanted)
        if target.present and not number:
            return None
        asked = self._evaluation(arm, tuned, weights)
        where = {**target.narrowed.where, **wanted}
        data = Tested(
            dataset=target.name,
            part="all",
            task=tuned.data.task,
            paint=tuned.data.paint,
            where=where,
            exclude=target.narrowed.exclude,
            ignore=tuned.data.ignore,
        )
        job = self.plan.add(Job(replace(asked, data=data, submission=True), needs))
        self.plan.sizes[job] = number
        return job

    def _evaluate(self, arm: Arm, labels: Labels, finetune: str, initial: Initialisation) -> None:
        protocol, target, made = arm.protocol, arm.target, self.plan.jobs[finetune]
        tuned = self.plan.spec(finetune, FinetuneSpec)
        select = tuned.finetune.select
        used = target.count(specs.trained(labels.patients, arm.tuned))
        scoring = self.plan.scoring_of[protocol.name][arm.section]
        full_val = arm.tuned.val == "full"
        drawn = partial(splits.drawn, arm.fold, tuned.data, seed=tuned.seed, full=full_val)
        patients = tuple(len(drawn(side)) for side in splits.SIDES) if arm.fold.train else ()
        latency = None
        if LATENCY in protocol.metrics:
            latency = self.plan.add(Job(LatencySpec(tuned.network, tuned.data.task)))
        variants: list[tuple[str, Weights]] = [("", select)]
        for variant, weights in (
            [*variants, ("last", "last")] if select == "best_test" else variants
        ):
            needs = (finetune, made.needs[0])
            job = self.plan.add(Job(self._evaluation(arm, tuned, weights), needs))
            sent = self._submission(arm, tuned, weights, needs)
            self.plan.sizes[job] = target.count(arm.fold.test)
            if scoring not in self.plan.scoring.setdefault(job, []):
                self.plan.scoring[job].append(scoring)
            before = self.plan.spec(initial.pretrain, PretrainSpec) if initial.pretrain else None
            columns = {
                **_columns(arm, labels, tuned, before),
                "row": labelled(arm.label, variant),
                "convention": f"{protocol.convention}/{scoring.empty}"
                if scoring.task == MAPS
                else "",
            }
            cell = Cell(
                columns["row"],
                job,
                finetune,
                initial.pretrain,
                columns,
                self._cell_wanted(arm, columns),
                self.pretrainings.guards.get((initial.pretrain or "", protocol.name)),
                latency,
                self.pictures.add(arm, initial),
                submission=sent,
                curve=tuned.finetune.track is not None and not variant,
                epoch=specs.epoch(used, arm.tuned.crops, tuned.finetune.batch),
                patients=patients,
            )
            alike = self._cells.setdefault((protocol.name, cell.row, job), [])
            if cell not in alike:  # a seed that stands twice is one
                alike.append(cell)
                self.plan.cells[protocol.name].append(cell)
            for done in (initial.pretrain, finetune, job, latency, sent):
                if done is not None:
                    self.plan.threads[done] = protocol.threads

    def _cell_wanted(self, arm: Arm, columns: dict[str, Any]) -> bool:
        return (
            self.selection.wants("row", arm.name, columns["row"])
            and self.selection.wants("method", arm.row.method)
            and self.selection.wants("network", arm.row.network, arm.net.network)
            and all(self.selection.wants(k, columns[k]) for k in ("dataset", "fraction", "seed"))
        )


def _columns(
    arm: Arm, labels: Labels, spec: FinetuneSpec, before: PretrainSpec | None
) -> dict[str, Any]:
    """Return what the records say of a cell besides its scores, its name and their convention."""
    protocol, net = arm.protocol, spec.network
    source = "file" if spec.init.startswith("file:") else "none"
    return {
        "protocol": protocol.name,
        "paper": protocol.paper,
        "table": protocol.table,
        "scale": protocol.scale,
        "section": arm.section,
        "method": arm.row.method,
        "network": f"{net.network}/{net.preset}",
        "params": (before or arm).method.differing,
        "pretrain": mixture.title(arm.before) if before else source,
        "pretrain_seed": before.seed if before else 0,
        "init": spec.init,
        "evaluation": spec.finetune.evaluation,
        "dataset": arm.target.name,
        "task": arm.target.dataset.task,
        "split": arm.fold.name,
        "split_hash": arm.fold.digest if arm.target.present else "",
        "fraction": labels.percent,
        "n_train": len(labels.patients),
        "fold": arm.fold.index,
        "seed": spec.seed,
    }
