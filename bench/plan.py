"""Protocol -> jobs: what must exist before the table can be drawn, each thing once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import registry
from bench.data import split as splits
from bench.data.where import Contents, Roots, adapter
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError, unknown
from bench.job import Job
from bench.nets import catalog
from bench.override import Override
from bench.protocol import Finetune, Net, Pretrain, Protocol, Row, finetune_of, pretrain_of

ONLY = ("method", "network", "dataset", "fraction", "seed", "row")


@dataclass(frozen=True)
class Cell:
    """One number of the table: the jobs behind it and what the records say of it."""

    row: str
    evaluate: str
    finetune: str
    pretrain: str | None
    columns: dict[str, Any]  # the record columns that do not vary within the cell
    wanted: bool = True  # False: --only leaves it out of this run (its rows are shown if there)


@dataclass
class Plan:
    """Jobs in an order in which every need comes before what needs it."""

    jobs: dict[str, Job] = field(default_factory=dict)
    cells: dict[str, list[Cell]] = field(default_factory=dict)  # by protocol name
    roots: dict[str, str] = field(default_factory=dict)  # data set -> folder, for `prepare`
    scoring: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # evaluate id -> scorings
    scoring_of: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # protocol, data set
    threads: dict[str, int] = field(default_factory=dict)
    provisional: bool = False

    def add(self, job: Job) -> str:
        """Add a job unless an equal one is there; return its id."""
        return self.jobs.setdefault(job.id, job) and job.id


@dataclass(frozen=True)
class Target:
    """One downstream data set as found on this machine (or not found: provisional)."""

    name: str
    dataset: Dataset
    cases: tuple[Case, ...]
    folds: tuple[splits.Fold, ...]
    here: bool


class Planner:
    """Expands protocols; remembers what it has looked up."""

    def __init__(
        self, roots: Roots, contents: Contents, only: dict[str, list[str]] | None = None,
        overrides: Sequence[Override] = (), *, need_data: bool = True,
    ) -> None:  # fmt: skip
        self.roots, self.contents = roots, contents
        self.only, self.overrides, self.need_data = only or {}, overrides, need_data
        self.plan = Plan()
        self._cases: dict[str, tuple[Case, ...] | None] = {}
        self._digests: dict[str, str] = {}

    def expand(self, protocol: Protocol) -> None:
        """Add every cell of a protocol and the jobs behind it."""
        self._check_only(protocol)
        self.plan.cells[protocol.name] = []
        for index, target in enumerate(protocol.finetune):
            asked_for = self._wanted("dataset", target.dataset)
            if asked_for or self.roots.find(target.dataset) is not None:
                self._target(protocol, index, target)
        if not any(cell.wanted for cell in self.plan.cells[protocol.name]):
            raise BenchError(f"protocol {protocol.name!r}: --only leaves no cell")

    def finish(self) -> Plan:
        """Return the plan; an override that fitted nowhere is a mistake."""
        for override in self.overrides:
            override.require_used()
        return self.plan

    def _target(self, protocol: Protocol, index: int, section: Finetune) -> None:
        target = self._find(section)
        for name, row in protocol.rows.items():
            net = protocol.networks[row.network]
            tuned = finetune_of(protocol, index, row)
            for fold in target.folds:
                if section.folds is None or fold.index in section.folds:
                    self._fold(protocol, (name, row, net), tuned, (target, fold))

    def _fold(
        self, protocol: Protocol, line: tuple[str, Row, Net], tuned: Finetune,
        place: tuple[Target, splits.Fold],
    ) -> None:  # fmt: skip
        target, fold = place
        pretrain = self._pretrain(protocol, line, place)
        for percent in tuned.fractions:
            for seed in tuned.seeds:
                patients = self._labelled(target, fold, percent, seed, tuned)
                job = self._finetune(line, tuned, place, (percent, seed, patients), pretrain)
                self._evaluate(protocol, line, tuned, place, (percent, seed, patients, pretrain, job))

    def _find(self, section: Finetune) -> Target:
        dataset = adapter(section.dataset, self.roots)
        cases = self._listed(section.dataset, dataset)
        if cases is None:
            self.plan.provisional = True
            return Target(section.dataset, dataset, (), (_unseen(dataset, section),), False)
        folds = splits.folds(dataset, section.dataset, cases, section.split)
        return Target(section.dataset, dataset, cases, tuple(folds), True)

    def _listed(self, name: str, dataset: Dataset) -> tuple[Case, ...] | None:
        if name not in self._cases:
            root = self.roots.require(name) if self.need_data else self.roots.find(name)
            self._cases[name] = None if root is None else self._look(name, dataset, root)
        return self._cases[name]

    def _look(self, name: str, dataset: Dataset, root: Path) -> tuple[Case, ...]:
        cases = tuple(dataset.cases(root))
        missing = dataset.missing(root)
        if missing:
            case, file = missing[0]
            raise BenchError(
                f"{name}: {len(missing)} file(s) missing, first {file} (case {case}); "
                f"'bench check {name} --data ...' lists all"
            )
        self.plan.roots[name] = str(root)
        return cases

    def _prepare(self, name: str, recipe: str | Recipe) -> str:
        dataset = adapter(name, self.roots)
        if isinstance(recipe, str):
            if recipe not in dataset.recipes:
                raise BenchError(unknown(f"recipe of data set {name!r}", recipe, dataset.recipes))
            recipe = dataset.recipes[recipe]
        cases = self._listed(name, dataset)
        if cases is not None and name not in self._digests:
            self._digests[name] = self.contents.digest(cases)
        if cases is None:
            self.plan.provisional = True
        spec = {
            "dataset": name, "dataset_version": dataset.version,
            "recipe": _listed(asdict(recipe)),
            "contents": self._digests.get(name),
        }  # fmt: skip
        return self._add("prepare", spec, ())

    def _pretrain(
        self, protocol: Protocol, line: tuple[str, Row, Net], place: tuple[Target, splits.Fold]
    ) -> tuple[str, Pretrain] | None:
        name, row, net = line
        method = registry.load("method", row.method)
        if not method.pretrains:
            return None
        section = pretrain_of(protocol, row)
        needs, data, n = [], [], 0
        for mix in section.datasets:
            needs.append(self._prepare(mix.dataset, mix.recipe or section.recipe))
            chosen, count = self._mixed(mix.dataset, mix.cases, place)
            data.append(chosen)
            n += count
        channels = len(adapter(section.datasets[0].dataset, self.roots).channels)
        budget = _resolved(section, n)
        if section.batch < method.min_batch:
            raise BenchError(
                f"row {name!r}: method {row.method!r} needs a batch of at least {method.min_batch}, "
                f"got {section.batch}"
            )
        spec = {
            "method": {"name": row.method, "version": method.version,
                       "params": _listed(asdict(method.make_params(row.params)))},
            "network": self._network(net, channels),
            "data": data,
            "pretrain": budget,
            "seed": section.seed,
        }  # fmt: skip
        return self._add("pretrain", spec, tuple(needs)), section

    def _mixed(
        self, name: str, cases: str, place: tuple[Target, splits.Fold]
    ) -> tuple[dict[str, Any], int]:
        target, fold = place
        if cases == "train" and name == target.name:
            part = {"dataset": name, "part": "train", **_split_of(fold, target)}
            return part, len(fold.train)
        listed = self._listed(name, adapter(name, self.roots))
        return {"dataset": name, "part": "all"}, len(listed or ())

    def _network(self, net: Net, channels: int) -> dict[str, Any]:
        catalog.check_crop(net.network, net.preset, net.crop)
        return {
            "network": net.network, "preset": net.preset, "crop": list(net.crop),
            "in_channels": channels, "version": catalog.entry(net.network).version,
        }  # fmt: skip

    def _labelled(
        self, target: Target, fold: splits.Fold, percent: int, seed: int, tuned: Finetune
    ) -> tuple[str, ...]:
        if not target.here and not fold.train:
            return ()
        what = f"{target.name}, split {tuned.split!r}"
        return tuple(splits.fraction(fold.train, percent, tuned.split, seed, what))

    def _finetune(
        self, line: tuple[str, Row, Net], tuned: Finetune, place: tuple[Target, splits.Fold],
        sample: tuple[int, int, tuple[str, ...]], pretrain: tuple[str, Pretrain] | None,
    ) -> str:  # fmt: skip
        _, row, net = line
        target, fold = place
        percent, seed, patients = sample
        n = len(fold.train) if tuned.hold == "steps" else len(patients)
        prepare = self._prepare(target.name, tuned.recipe)
        network = self._network(net, len(target.dataset.channels))
        init, needs = "random", (prepare,)
        if pretrain is not None:
            job, section = pretrain
            self._has_snapshot(line, section)
            init, needs = f"job:{job}" + (f"@{row.at}" if row.at else ""), (prepare, job)
        outputs = dict(target.dataset.labels)
        spec = {
            "network": {**network, "out_channels": max(outputs) + 1},
            "init": init,
            "data": {"dataset": target.name, "fraction": percent, **_split_of(fold, target),
                     "n_train": len(patients) if target.here else None},
            "finetune": _resolved(tuned, n),
            "seed": seed,
        }  # fmt: skip
        return self._add("finetune", spec, needs)

    def _has_snapshot(self, line: tuple[str, Row, Net], section: Pretrain) -> None:
        name, row, _ = line
        if row.at is not None and row.at not in section.snapshots:
            raise BenchError(
                f"row {name!r}: 'at: {row.at}' is not among the pretraining's snapshots "
                f"{list(section.snapshots)}"
            )

    def _evaluate(
        self, protocol: Protocol, line: tuple[str, Row, Net], tuned: Finetune,
        place: tuple[Target, splits.Fold], sample: tuple[int, int, tuple[str, ...], Any, str],
    ) -> None:  # fmt: skip
        name, row, net = line
        target, fold = place
        percent, seed, patients, pretrain, finetune = sample
        prepare = self.plan.jobs[finetune].needs[0]
        scoring = {
            "metrics": list(protocol.metrics), "convention": protocol.convention,
            "empty": protocol.empty or target.dataset.empty,
            "labels": {str(k): v for k, v in target.dataset.labels.items()},
            "regions": {k: list(v) for k, v in target.dataset.regions.items()},
        }  # fmt: skip
        self.plan.scoring_of.setdefault(protocol.name, {})[target.name] = scoring
        weights = [("", tuned.select)] + ([(" (last)", "last")] if tuned.select == "best_test" else [])
        for suffix, which in weights:
            spec = {
                "data": {"dataset": target.name, "part": "test", **_split_of(fold, target)},
                "weights": which,
                "inference": {**asdict(tuned.inference), "crop": list(net.crop)},
            }
            job = self._add("evaluate", spec, (finetune, prepare))
            if scoring not in self.plan.scoring.setdefault(job, []):
                self.plan.scoring[job].append(scoring)
            self.plan.threads[job] = self.plan.threads[finetune] = protocol.threads
            columns = {
                **_columns(protocol, line, tuned, target),
                "row": name + suffix, "split_hash": fold.digest if target.here else "",
                "fraction": percent, "n_train": len(patients), "fold": fold.index, "seed": seed,
                "pretrain": _mixture(pretrain[1]) if pretrain else "none",
                "pretrain_seed": pretrain[1].seed if pretrain else 0,
                "init": self.plan.jobs[finetune].spec["init"],
                "convention": f"{protocol.convention}/{scoring['empty']}",
                "params": _differing(row),
            }  # fmt: skip
            wanted = self._cell_wanted(line, columns)
            before = pretrain[0] if pretrain else None
            cell = Cell(name + suffix, job, finetune, before, columns, wanted)
            self.plan.cells[protocol.name].append(cell)
        if pretrain:
            self.plan.threads[pretrain[0]] = protocol.threads

    def _add(self, kind: str, spec: dict[str, Any], needs: tuple[str, ...]) -> str:
        for override in self.overrides:
            spec = override.apply(kind, spec)
        return self.plan.add(Job(kind, spec, needs))

    def _wanted(self, key: str, *values: Any) -> bool:
        chosen = self.only.get(key)
        return not chosen or any(str(v) in chosen for v in values)

    def _cell_wanted(self, line: tuple[str, Row, Net], columns: dict[str, Any]) -> bool:
        name, row, net = line
        return (
            self._wanted("row", name, columns["row"]) and self._wanted("method", row.method)
            and self._wanted("network", row.network, net.network)
            and all(self._wanted(k, columns[k]) for k in ("dataset", "fraction", "seed"))
        )  # fmt: skip

    def _check_only(self, protocol: Protocol) -> None:
        rows = protocol.rows.values()
        nets = protocol.networks
        known = {
            "row": set(protocol.rows), "method": {r.method for r in rows},
            "network": set(nets) | {n.network for n in nets.values()},
            "dataset": {t.dataset for t in protocol.finetune},
            "fraction": {str(f) for t in protocol.finetune for f in t.fractions},
            "seed": {str(s) for t in protocol.finetune for s in t.seeds},
        }  # fmt: skip
        for key, values in self.only.items():
            if key not in known:
                raise BenchError(unknown("key of --only", key, ONLY))
            for value in values:
                if value not in known[key]:
                    where = f"{key} in protocol {protocol.name!r}"
                    raise BenchError(f"--only {key}={value}: {unknown(where, value, known[key])}")


def _unseen(dataset: Dataset, section: Finetune) -> splits.Fold:
    """Return a stand-in fold where the data is not here; registered lists are known all the same."""
    if section.split in (splits.RULE, splits.LEAVE_ONE_OUT):
        return splits.Fold(section.split, 0, (), (), ())
    if section.split not in dataset.splits:
        known = [*dataset.splits, splits.RULE, splits.LEAVE_ONE_OUT]
        raise BenchError(unknown(f"split of data set {section.dataset!r}", section.split, known))
    return splits.listed(dataset, section.split)[0]


def _split_of(fold: splits.Fold, target: Target) -> dict[str, Any]:
    known = target.here or fold.train
    return {"split": fold.name, "fold": fold.index, "split_hash": fold.digest if known else None}


def _resolved(section: Pretrain | Finetune, n: int) -> dict[str, Any]:
    """Return a recipe with its budget in optimiser steps; what only picks jobs is left out."""
    steps = section.steps
    if steps is None and section.epochs is not None and n:
        steps = max(1, round(section.epochs * n * section.crops / section.batch))
    left_out = {
        "datasets", "dataset", "name", "recipe", "split", "fractions", "seeds", "folds", "seed",
        "epochs", "crops", "hold", "inference",
    }  # fmt: skip
    kept = {k: v for k, v in asdict(section).items() if k not in left_out}
    return _listed({**kept, "steps": steps})


def _listed(value: Any) -> Any:
    """Return tuples as lists, so that a spec equals its own JSON."""
    if isinstance(value, dict):
        return {k: _listed(v) for k, v in value.items()}
    return [_listed(v) for v in value] if isinstance(value, (list, tuple)) else value


def _columns(
    protocol: Protocol, line: tuple[str, Row, Net], tuned: Finetune, target: Target
) -> dict[str, Any]:
    _, row, net = line
    return {
        "protocol": protocol.name, "paper": protocol.paper, "table": protocol.table,
        "scale": protocol.scale, "method": row.method, "network": f"{net.network}/{net.preset}",
        "evaluation": tuned.evaluation, "dataset": target.name, "task": "segmentation",
        "split": tuned.split,
    }  # fmt: skip


def _mixture(section: Pretrain) -> str:
    return section.name or "+".join(m.dataset for m in section.datasets)


def _differing(row: Row) -> str:
    from bench.job import canonical

    return canonical(row.params)


def order(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs with every need before what needs it, kinds together."""
    from bench.job import KINDS

    return sorted(jobs, key=lambda j: KINDS.index(j.kind))
