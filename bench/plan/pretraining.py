"""The pretrainings of a plan, what they read, and the guards that look for leaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from bench import registry
from bench.errors import BenchError
from bench.job import Job, listed
from bench.plan import mixing, specs
from bench.plan.dag import Plan
from bench.plan.here import Here
from bench.plan.line import Line
from bench.protocol import Pretrain, mixture, pretrain_of, pretrained_net

Overridden = Callable[[str, dict[str, Any]], dict[str, Any]]


class Pretrainings:
    """Adds pretrainings to a plan; remembers their guards.

    Args:
        plan: is added to.
        here: the data sets on this machine.
        overridden: (kind, spec) -> the spec with what ``--set`` says of it.
    """

    def __init__(self, plan: Plan, here: Here, overridden: Overridden) -> None:
        self.plan, self.here, self._overridden = plan, here, overridden
        self.guards: dict[tuple[str, str], str] = {}  # pretraining, protocol -> guard

    def add(self, line: Line, seed: int) -> str:
        """Add a line's pretraining under one of its seeds and return it.

        Raises:
            BenchError: an impossible mixture, network or snapshot.
        """
        row, method = line.row, registry.load("method", line.row.method)
        params, net = method.make_params(row.params), pretrained_net(line.protocol, row)
        section = replace(pretrain_of(line.protocol, row), seed=seed, seeds=())
        parts = mixing.mixed(self.here, line, section, params.reads_labels)
        needs = tuple(self.prepare(m.dataset, m.recipe) for m in mixture.parts(section))
        spec = self._overridden("pretrain", {
            "method": {"name": row.method, "version": method.version, "params": listed(asdict(params))},
            "network": specs.network(net, self.channels(needs, net.crop)),
            "data": [part.data for part in parts],
            "pretrain": specs.resolved(section, specs.steps(section, mixing.count(section, parts))),
            "seed": seed,
            **({"take": mixing.overall(section)} if section.take else {}),
        })  # fmt: skip
        guard = self._guard(line, section, (spec, parts, needs))
        if section.leaks == "drop":  # what is left out is part of the result
            spec, needs = {**spec, "leaks": "drop"}, (*needs, guard)
        job = self.plan.add(Job("pretrain", spec, needs))
        self.plan.wait(job, guard)
        self.guards[job, line.protocol.name] = guard
        _has_snapshot(line, self.plan.jobs[job].spec["pretrain"])
        return job

    def prepare(self, name: str, recipe: Any) -> str:
        """Add the preparation of a data set by a recipe and return it."""
        job = self.plan.add(Job("prepare", self._overridden("prepare", self.here.prepare(name, recipe)), ()))
        self.plan.sizes[job] = len(self.here.cases(name) or ())
        return job

    def channels(self, prepared: Sequence[str], crop: Sequence[int]) -> int:
        """Return the channels that all prepared data sets have.

        Raises:
            BenchError: they have different ones, or are pictures that a crop in 3D misses.
        """
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
        reads = tuple(self.prepare(t.name, recipe) for t, _, recipe in tests)
        found = self.plan.add(Job("guard", wanted, (*needs, *reads)))
        tested = sum(target.count(fold.test) for target, fold, _ in tests)
        self.plan.sizes[found] = mixing.count(section, parts) * tested
        # What is compared depends on no policy, so that another one compares nothing again.
        return self.plan.add(Job("guard", {"leaks": "fail"}, (found,))) if section.leaks == "fail" else found


def _has_snapshot(line: Line, made: dict[str, Any]) -> None:
    at, there = line.row.at, made["snapshots"]
    if at is not None and (at not in there or (made["steps"] is not None and at > made["steps"])):
        raise BenchError(
            f"row {line.name!r}: 'at: {at}' is not among the snapshots {there} that "
            f"{made['steps']} steps of pretraining leave; state 'pretrain: {{snapshots: [{at}]}}'"
        )
