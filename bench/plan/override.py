"""``--set finetune.optimiser.lr=1e-3``: one value of a job's spec, by its dotted path."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypeVar

from bench import typed
from bench.errors import BenchError
from bench.job import Spec
from bench.jobs.kind import NetSpec
from bench.jobs.pretrain.spec import MethodSpec
from bench.protocol.sections import Finetune, Pretrain
from bench.protocol.strict import scalar
from bench.typed import plain

S = TypeVar("S", bound=Spec)
T = TypeVar("T", Finetune, Pretrain)

FIXED = (
    "data", "init", "given", "control", "contents", "dataset", "version", "dataset_version", "weights",
    "take", "leaks", "task",
)  # fmt: skip
FACTS = (
    "method.name", "network.in_channels", "network.out_channels", "inference.crop", "finetune.track.targets",
    "finetune.track.empty",
)  # fmt: skip
CHOSEN = {"fraction": "fraction", "fractions": "fraction", "seeds": "seed"}  # last of a path: key of --only


class Override:
    """A path as ``bench plan --json`` shows it, and a YAML value."""

    def __init__(self, text: str) -> None:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise BenchError(f"--set {text}: write KEY=VALUE, e.g. finetune.optimiser.lr=1e-3")
        self.text, self.path, self.value = text, path, scalar(value)
        self.keys = path.split(".")
        self._used, self._seen = False, set[str]()

    def apply(self, spec: S) -> S:
        """Return the spec with the value set where the path exists, else the spec itself.

        Raises:
            BenchError: the path is a fact and no setting, or the value is none it can have.
        """
        stated = plain(spec)
        self._seen.update(_paths(stated))
        holder: Any = stated
        for key in self.keys[:-1]:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or self.keys[-1] not in holder:
            return spec
        old = holder[self.keys[-1]]
        if self.keys[-1] in FIXED or self.keys[0] in FIXED or self.path in FACTS:
            raise BenchError(f"--set {self.text}: {self.path} is a fact, not a setting{self._only()}")
        holds_facts = any(fact.startswith(f"{self.path}.") for fact in FACTS) and self.value is not None
        if isinstance(old, dict) and (len(self.keys) == 1 or holds_facts):
            raise BenchError(f"--set {self.text}: name one setting of {self.path}, e.g. {self.path}."
                             f"{next(iter(old))}")  # fmt: skip
        alike = type(self.value) is type(old) or (isinstance(old, float) and type(self.value) is int)
        if old is not None and self.value is not None and not alike:
            raise BenchError(f"--set {self.text}: expected something like {old!r}")
        holder[self.keys[-1]] = self.value
        self._used = True
        return self._built(type(spec), stated)

    def _built(self, kind: type[S], stated: dict[str, Any]) -> S:
        """Return the spec as if the protocol had said it: same checks, same types."""
        found = typed.build(kind, stated, lambda keys: f"--set {self.text}: {'.'.join(keys)}")
        again: dict[str, Any] = {}
        try:
            if (method := getattr(found, "method", None)) is not None:
                again["method"] = MethodSpec.of(method.name, method.params)
            if (net := getattr(found, "network", None)) is not None:
                known = NetSpec.of(net, net.in_channels)
                again["network"] = replace(net, version=known.version, source=known.source)
        except BenchError as error:
            raise BenchError(f"--set {self.text}: {error}") from None
        return replace(found, **again)  # type: ignore[type-var]

    def stated(self, section: T) -> T:
        """Return a section with the batch that is set, by which its epochs become steps, or the seed.

        What jobs are made of depends on them before there is a spec. A value that cannot be is left to
        ``apply``, which says so.
        """
        if type(self.value) is not int or self.value < 0:
            return section
        if self.path == "seed":
            return replace(section, seeds=(self.value,))
        kind = "finetune" if isinstance(section, Finetune) else "pretrain"
        if self.path == f"{kind}.batch" and self.value:
            with suppress(ValueError):
                return replace(section, batch=self.value)
        return section

    def require_used(self) -> None:
        """Raise where the path was found in no job."""
        if self._used:
            return
        near = get_close_matches(self.path, sorted(self._seen), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "'bench plan --json' shows every path"
        raise BenchError(f"--set {self.text}: no job has {self.path!r}{self._only() or f'; {hint}'}")

    def _only(self) -> str:
        """Return how to pick what is no setting of a job, where that is what was meant."""
        key = CHOSEN.get(self.keys[-1])
        return f"; --only {key}=VALUE picks among those that the protocol lists" if key else ""


class Overrides:
    """All of a command's, in the order given: the last of one path counts."""

    def __init__(self, every: Sequence[Override]) -> None:
        self.every = every

    def apply(self, spec: S) -> S:
        """Return the spec with every value set whose path it has."""
        for override in self.every:
            spec = override.apply(spec)
        return spec

    def stated(self, section: T) -> T:
        """Return a section with what is set of it that other things follow from."""
        for override in self.every:
            section = override.stated(section)
        return section


def _paths(spec: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, value in spec.items():
        found.add(prefix + key)
        if isinstance(value, dict):
            found |= _paths(value, f"{prefix}{key}.")
    return found
