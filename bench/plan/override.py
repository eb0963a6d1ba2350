"""``--set finetune.optimiser.lr=1e-3``: one value of a job's spec, by its dotted path."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, fields
from difflib import get_close_matches
from typing import Any

from bench import registry, typed
from bench.dataset import Recipe
from bench.errors import BenchError
from bench.job import listed
from bench.nets import catalog
from bench.protocol.sections import Finetune, Inference, Net, Pretrain
from bench.protocol.strict import scalar
from bench.ranges import Range

FIXED = ("data", "init", "control", "contents", "dataset", "version", "dataset_version", "weights")
FACTS = ("method.name", "network.in_channels", "network.out_channels", "inference.crop")
SECTIONS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    # kind of job: key of its settings, what they are built as, what that cannot do without
    "prepare": ("recipe", Recipe, {}),
    "pretrain": ("pretrain", Pretrain, {"datasets": [{"dataset": ""}]}),
    "finetune": ("finetune", Finetune, {"dataset": "", "split": ""}),
    "evaluate": ("inference", Inference, {}),
}


SEED = Range(0, 2**32 - 1)  # as a protocol's


class Override:
    """A path as ``bench plan --json`` shows it, and a YAML value."""

    def __init__(self, text: str) -> None:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise BenchError(f"--set {text}: write KEY=VALUE, e.g. finetune.optimiser.lr=1e-3")
        self.text, self.path, self.value = text, path, scalar(value)
        self.keys = path.split(".")
        self._used, self._seen = False, set[str]()

    def apply(self, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec with the value set where the path exists, else the spec itself.

        Raises:
            BenchError: the path is a fact and no setting, or the value is none it can have.
        """
        self._seen.update(_paths(spec))
        inner: Any = spec
        for key in self.keys:
            if not isinstance(inner, dict) or key not in inner:
                return spec
            inner = inner[key]
        if self.keys[-1] in FIXED or self.keys[0] in FIXED or self.path in FACTS:
            raise BenchError(f"--set {self.text}: {self.path} is a fact, not a setting")
        if isinstance(inner, dict) and len(self.keys) == 1:
            raise BenchError(f"--set {self.text}: name one setting of {self.path}, e.g. {self.path}."
                             f"{next(iter(inner))}")  # fmt: skip
        if inner is not None and self.value is not None:
            self._alike(inner)
        changed = deepcopy(spec)
        holder = changed
        for key in self.keys[:-1]:
            holder = holder[key]
        holder[self.keys[-1]] = self.value
        self._used = True
        return self._checked(kind, changed)

    def _alike(self, old: Any) -> None:
        new = self.value
        widened = isinstance(old, float) and type(new) is int
        if type(new) is not type(old) and not widened:
            raise BenchError(f"--set {self.text}: expected something like {old!r}")

    def _checked(self, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec as if the protocol had said it: same checks, same types."""
        found = _built(spec, SECTIONS[kind], self.text)
        if (seed := spec.get("seed")) is not None and (said := SEED.problem(seed)):
            raise BenchError(f"--set {self.text}: seed {said}")
        try:
            if "network" in spec:
                net = _built(found, ("network", Net, {}), self.text)["network"]
                catalog.check_crop(net["network"], net["preset"], net["crop"])
                found["network"] = {**net, "version": catalog.entry(net["network"]).version}
            if "method" in spec:
                method = registry.load("method", spec["method"]["name"])
                params = listed(asdict(method.make_params(spec["method"]["params"])))
                found["method"] = {**spec["method"], "params": params}
        except BenchError as error:
            raise BenchError(f"--set {self.text}: {error}") from None
        return found

    def require_used(self) -> None:
        """Raise where the path was found in no job."""
        if self._used:
            return
        near = get_close_matches(self.path, sorted(self._seen), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "'bench plan --json' shows every path"
        raise BenchError(f"--set {self.text}: no job has {self.path!r}; {hint}")


def _built(spec: dict[str, Any], section: tuple[str, Any, dict[str, Any]], text: str) -> dict[str, Any]:
    key, kind, needed = section
    known = {f.name for f in fields(kind)}
    given = {**needed, **{k: v for k, v in spec[key].items() if k in known}}
    built = listed(asdict(typed.build(kind, given, lambda keys: f"--set {text}: {'.'.join(keys)}", (key,))))
    return {**spec, key: {k: built.get(k, v) for k, v in spec[key].items()}}


def _paths(spec: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, value in spec.items():
        found.add(prefix + key)
        if isinstance(value, dict):
            found |= _paths(value, f"{prefix}{key}.")
    return found
