"""Protocol -> jobs: what must exist before the table can be drawn, each thing once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench import registry
from bench.data import split as splits
from bench.data.where import Contents, Roots
from bench.errors import BenchError, unknown
from bench.job import Job, listed
from bench.metrics.request import Request, check_tasks, fitting
from bench.plan import mixing, specs
from bench.plan.dag import Cell, Plan
from bench.plan.feasible import refuse
from bench.plan.here import Here
from bench.plan.line import Line
from bench.plan.override import Override
from bench.protocol import Finetune, Pretrain, Protocol, finetune_of, mixture, pretrain_of

ONLY = ("method", "network", "dataset", "fraction", "seed", "row")


class Planner:
    """Expands protocols; remembers what it has looked up."""

    def __init__(
        self, roots: Roots, contents: Contents, only: dict[str, list[str]] | None = None,
        overrides: Sequence[Override] = (), *, need_data: bool = True, processes: int = 1,
    ) -> None:  # fmt: skip
        self.here, self.processes = Here(roots, contents, need_data=need_data), processes
        self.only, self.overrides = only or {}, overrides
        self.plan = Plan()
        self.guards: dict[tuple[str, str], str] = {}  # pretraining, protocol -> guard
        self._feasible: set[str] = set()
        self._known: dict[str, set[str]] = {}  # what --only may name, over all protocols

    def expand(self, protocol: Protocol) -> None:
        """Add every cell of a protocol and the jobs behind it."""
        for key in ("rows", "finetune"):
            if not getattr(protocol, key):
                raise BenchError(f"protocol {protocol.name!r}: {key!r} is empty; nothing to compare")
        self._learn_only(protocol)
        check_tasks(protocol.metrics, {t.dataset: self._task(t.dataset) for t in protocol.finetune})
        label_maps = fitting(protocol.metrics, "segmentation") or ("dice",)
        Request.checked(label_maps, protocol.convention, protocol.empty or "default")
        self.plan.cells[protocol.name] = []
        for index, section in enumerate(protocol.finetune):
            asked_for = self._wanted("dataset", section.dataset)
            if asked_for or self.here.roots.find(section.dataset) is not None:
                self._section(protocol, index, section)

    def _task(self, name: str) -> str:
        """Return a data set's task; a folder that is not here and not registered must be in MSD layout."""
        known = name in registry.names("dataset") or self.here.roots.find(name) is not None
        return self.here.dataset(name).task if known else "segmentation"

    def finish(self) -> Plan:
        """Return the plan; an override that fitted nowhere is a mistake, as is a job that cannot work."""
        self._check_only()
        for override in self.overrides:
            override.require_used()
        for name, cells in self.plan.cells.items():
            for cell in cells:
                if cell.wanted:
                    self._refuse(name, cell)
        self.plan.roots, self.plan.provisional = dict(self.here.used), self.here.provisional
        return self.plan

    def _refuse(self, protocol: str, cell: Cell) -> None:
        for job in (cell.pretrain, cell.finetune):
            try:
                if job is not None and job not in self._feasible:
                    refuse(self.plan.jobs[job], self.plan.jobs, self.processes)
                    self._feasible.add(job)
            except BenchError as error:
                raise BenchError(f"protocol {protocol!r}, row {cell.row!r}: {error}") from None

    def _section(self, protocol: Protocol, index: int, section: Finetune) -> None:
        target = self.here.target(section)
        folds = [f for f in target.folds if section.folds is None or f.index in section.folds]
        for name, row in protocol.rows.items():
            tuned = finetune_of(protocol, index, row)
            for fold in folds:
                net = protocol.networks[row.network]
                self._line(Line(protocol, name, row, net, tuned, target, fold))

    def _line(self, line: Line) -> None:
        pretrain = self._pretrain(line)
        for percent in line.tuned.fractions:
            for seed in line.tuned.seeds:
                patients = self._labelled(line, percent, seed)
                job = self._finetune(line, (percent, seed, patients), pretrain)
                self._evaluate(line, (percent, len(patients)), job, pretrain)

    def _prepare(self, name: str, recipe: Any) -> str:
        return self._add("prepare", self.here.prepare(name, recipe), ())

    def _pretrain(self, line: Line) -> str | None:
        row, method = line.row, registry.load("method", line.row.method)
        params = method.make_params(row.params)  # also where nothing is pretrained: names are checked
        if not method.pretrains:
            return None
        section = pretrain_of(line.protocol, row)
        parts = mixing.mixed(self.here, line, section)
        needs = tuple(self._prepare(m.dataset, m.recipe) for m in mixture.parts(section))
        spec = self._overridden("pretrain", {
            "method": {"name": row.method, "version": method.version, "params": listed(asdict(params))},
            "network": specs.network(line.net, self._channels(needs, line.net.crop)),
            "data": [part.data for part in parts],
            "pretrain": specs.resolved(section, specs.steps(section, mixing.count(section, parts))),
            "seed": section.seed,
            **({"take": mixing.overall(section)} if section.take else {}),
        })  # fmt: skip
        guard = self._guard(line, section, (spec, parts, needs))
        if section.leaks == "drop":  # what is left out is part of the result
            spec, needs = {**spec, "leaks": "drop"}, (*needs, guard)
        job = self.plan.add(Job("pretrain", spec, needs))
        self.plan.wait(job, guard)
        self.guards[job, line.protocol.name] = guard
        self._has_snapshot(line, self.plan.jobs[job].spec["pretrain"])
        return job

    def _channels(self, prepared: Sequence[str], crop: Sequence[int]) -> int:
        """Return the channels that all prepared data sets have, or refuse them."""
        per: dict[str, int] = {}
        for spec in (self.plan.jobs[job].spec for job in prepared):
            dataset = self.here.dataset(spec["dataset"])
            if dataset.flat and crop[2] > 1:
                raise BenchError(
                    f"data set {spec['dataset']!r} holds pictures, which a crop {list(crop)} mostly misses; "
                    "take a 2D network and a crop [x, y, 1]"
                )
            per[spec["dataset"]] = len(spec["recipe"]["channels"] or dataset.channels)
        if len(set(per.values())) > 1:
            listing = ", ".join(f"{name} {n}" for name, n in per.items())
            raise BenchError(
                f"a mixture needs one number of channels, and its data sets have: {listing}; pick some "
                "by 'channels' of a recipe"
            )
        return next(iter(per.values()))

    def _guard(
        self, line: Line, section: Pretrain, made: tuple[dict[str, Any], list[mixing.Part], tuple[str, ...]]
    ) -> str:
        """Add the job that looks for downstream test cases among what a pretraining reads."""
        spec, parts, needs = made
        chosen = "take" in spec or any("take" in data for data in spec["data"])  # else no seed decides
        tests = mixing.tests(self.here, line, parts)
        wanted = {
            "data": spec["data"], "seed": spec["seed"] if chosen else 0, "take": spec.get("take", {}),
            "tests": [{"dataset": t.name, "part": "test", **t.division(fold)} for t, fold, _ in tests],
        }  # fmt: skip
        reads = tuple(self._prepare(t.name, recipe) for t, _, recipe in tests)
        found = self.plan.add(Job("guard", wanted, (*needs, *reads)))
        # What is compared depends on no policy, so that another one compares nothing again.
        return self.plan.add(Job("guard", {"leaks": "fail"}, (found,))) if section.leaks == "fail" else found

    def _labelled(self, line: Line, percent: int, seed: int) -> list[str]:
        if not line.target.here and not line.fold.train:
            return []
        what = f"{line.target.name}, split {line.fold.name!r}"
        return splits.fraction(line.fold.train, percent, line.fold.name, seed, what)

    def _finetune(self, line: Line, sample: tuple[int, int, list[str]], pretrain: str | None) -> str:
        percent, seed, patients = sample
        target, row = line.target, line.row
        full, used = target.count(line.fold.train), target.count(patients)
        init = "random"
        needs: tuple[str, ...] = (self._prepare(target.name, line.tuned.recipe),)
        if pretrain is not None:
            init, needs = f"job:{pretrain}" + (f"@{row.at}" if row.at else ""), (*needs, pretrain)
        network, task = specs.network(line.net, self._channels(needs[:1], line.net.crop)), target.dataset.task
        spec = {
            "network": {**network, "out_channels": max(target.dataset.labels) + 1},
            "init": init,
            "data": {"dataset": target.name, "task": task, "fraction": percent,
                     **target.division(line.fold),
                     "n_train": len(patients) if target.here else None},
            "finetune": specs.tuned(line.tuned, task, specs.held(line.tuned, full, used, percent)),
            "seed": seed,
        }  # fmt: skip
        job = self._add("finetune", spec, needs)
        if pretrain is not None:  # else a pretraining that is done already would pass unguarded
            self.plan.wait(job, self.guards[pretrain, line.protocol.name])
        return job

    def _has_snapshot(self, line: Line, made: dict[str, Any]) -> None:
        at, there = line.row.at, made["snapshots"]
        if at is not None and (at not in there or (made["steps"] is not None and at > made["steps"])):
            raise BenchError(
                f"row {line.name!r}: 'at: {at}' is not among the snapshots {there} that "
                f"{made['steps']} steps of pretraining leave"
            )

    def _evaluate(self, line: Line, sample: tuple[int, int], finetune: str, pretrain: str | None) -> None:
        protocol, target, made = line.protocol, line.target, self.plan.jobs[finetune]
        select, scoring = made.spec["finetune"]["select"], specs.scoring(protocol, target)
        if select == "best_test" and protocol.scale != "paper":
            raise BenchError("select: best_test exists for the 'paper' scale only")
        self.plan.scoring_of.setdefault(protocol.name, {})[target.name] = scoring
        for suffix, weights in [("", select)] + [(" (last)", "last")] * (select == "best_test"):
            spec = {
                "data": {
                    "dataset": target.name,
                    "task": target.dataset.task,
                    "part": "test",
                    **target.division(line.fold),
                },
                "weights": weights,
                "inference": {**asdict(line.tuned.inference), "crop": made.spec["network"]["crop"]},
            }
            job = self._add("evaluate", spec, (finetune, made.needs[0]))
            if scoring not in self.plan.scoring.setdefault(job, []):
                self.plan.scoring[job].append(scoring)
            columns = self._columns(line, sample, made, pretrain)
            pixels = scoring["task"] == "segmentation"
            columns |= {
                "row": line.name + suffix,
                "convention": f"{protocol.convention}/{scoring['empty']}" if pixels else "",
            }
            cell = Cell(
                line.name + suffix, job, finetune, pretrain, columns, self._cell_wanted(line, columns),
                None if pretrain is None else self.guards[pretrain, protocol.name],
            )  # fmt: skip
            if cell not in self.plan.cells[protocol.name]:  # --set seed=7 makes two seeds one
                self.plan.cells[protocol.name].append(cell)
            for done in (pretrain, finetune, job):
                if done is not None:
                    self.plan.threads[done] = protocol.threads

    def _columns(
        self, line: Line, sample: tuple[int, int], made: Job, pretrain: str | None
    ) -> dict[str, Any]:
        """Return record columns; what --set can change is read from the jobs, not the protocol."""
        protocol, spec = line.protocol, made.spec
        before = self.plan.jobs[pretrain].spec if pretrain else None
        net = spec["network"]
        return {
            "protocol": protocol.name, "paper": protocol.paper, "table": protocol.table,
            "scale": protocol.scale, "method": line.row.method,
            "network": f"{net['network']}/{net['preset']}", "params": specs.differing(line.row, before),
            "pretrain": mixture.title(pretrain_of(protocol, line.row)) if before else "none",
            "pretrain_seed": before["seed"] if before else 0, "init": spec["init"],
            "evaluation": spec["finetune"]["evaluation"], "dataset": line.target.name,
            "task": line.target.dataset.task, "split": line.fold.name,
            "split_hash": line.fold.digest if line.target.here else "",
            "fraction": sample[0], "n_train": sample[1], "fold": line.fold.index, "seed": spec["seed"],
        }  # fmt: skip

    def _overridden(self, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        for override in self.overrides:
            spec = override.apply(kind, spec)
        return spec

    def _add(self, kind: str, spec: dict[str, Any], needs: tuple[str, ...]) -> str:
        return self.plan.add(Job(kind, self._overridden(kind, spec), needs))

    def _wanted(self, key: str, *values: Any) -> bool:
        chosen = self.only.get(key)
        return not chosen or any(str(v) in chosen for v in values)

    def _cell_wanted(self, line: Line, columns: dict[str, Any]) -> bool:
        return (
            self._wanted("row", line.name, columns["row"])
            and self._wanted("method", line.row.method)
            and self._wanted("network", line.row.network, line.net.network)
            and all(self._wanted(k, columns[k]) for k in ("dataset", "fraction", "seed"))
        )

    def _learn_only(self, protocol: Protocol) -> None:
        rows = protocol.rows.values()
        nets = protocol.networks
        sections = [finetune_of(protocol, i, r) for i in range(len(protocol.finetune)) for r in rows]
        known = {
            "row": set(protocol.rows), "method": {r.method for r in rows},
            "network": set(nets) | {n.network for n in nets.values()},
            "dataset": {t.dataset for t in protocol.finetune},
            "fraction": {str(f) for t in sections for f in t.fractions},
            "seed": {str(s) for t in sections for s in t.seeds},
        }  # fmt: skip
        for key, values in known.items():
            self._known.setdefault(key, set()).update(values)

    def _check_only(self) -> None:
        """Refuse a value of --only that no protocol has, and a choice that leaves nothing."""
        names = ", ".join(repr(name) for name in self.plan.cells)
        for key, values in self.only.items():
            if key not in self._known:
                raise BenchError(unknown("key of --only", key, ONLY))
            for value in values:
                if value not in self._known[key]:
                    where = f"{key} in protocol {names}"
                    raise BenchError(f"--only {key}={value}: {unknown(where, value, self._known[key])}")
        if not any(cell.wanted for cells in self.plan.cells.values() for cell in cells):
            raise BenchError(f"protocol {names}: --only leaves no cell")
