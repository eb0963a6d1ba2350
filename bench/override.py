"""``--set finetune.optimiser.lr=1e-3``: one value of a job's spec, by its dotted path."""

from __future__ import annotations

from copy import deepcopy
from difflib import get_close_matches
from typing import Any

from bench.errors import BenchError
from bench.strict import scalar

FIXED = ("data", "init", "contents", "dataset", "version", "dataset_version")  # facts, not settings


class Override:
    """A path as ``bench plan --json`` shows it, and a YAML value."""

    def __init__(self, text: str) -> None:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise BenchError(f"--set {text}: write KEY=VALUE, e.g. finetune.optimiser.lr=1e-3")
        self.text, self.keys, self.value = text, path.split("."), scalar(value)
        self._used, self._seen = False, set[str]()

    def apply(self, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec with the value set where the path exists, else the spec itself."""
        self._seen.update(_paths(spec))
        inner: Any = spec
        for key in self.keys:
            if not isinstance(inner, dict) or key not in inner:
                return spec
            inner = inner[key]
        if self.keys[-1] in FIXED or self.keys[0] in FIXED:
            raise BenchError(f"--set {self.text}: {'.'.join(self.keys)} is a fact, not a setting")
        changed = deepcopy(spec)
        holder = changed
        for key in self.keys[:-1]:
            holder = holder[key]
        holder[self.keys[-1]] = self._fitted(inner)
        self._used = True
        return changed

    def _fitted(self, old: Any) -> Any:
        new = self.value
        if isinstance(old, float) and type(new) is int:
            new = float(new)
        numbers = isinstance(old, (int, float)) and not isinstance(old, bool)
        if old is not None and new is not None and type(new) is not type(old):
            raise BenchError(f"--set {self.text}: expected something like {old!r}")
        if numbers and new is not None and old > 0 and not new > 0 and self.keys[-1] in POSITIVE:
            raise BenchError(f"--set {self.text}: must be above 0")
        return new

    def require_used(self) -> None:
        """Raise where the path was found in no job."""
        if self._used:
            return
        path = ".".join(self.keys)
        near = get_close_matches(path, sorted(self._seen), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "'bench plan --json' shows every path"
        raise BenchError(f"--set {self.text}: no job has {path!r}; {hint}")


POSITIVE = ("steps", "batch", "lr", "crops", "val_every")


def _paths(spec: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, value in spec.items():
        found.add(prefix + key)
        if isinstance(value, dict):
            found |= _paths(value, f"{prefix}{key}.")
    return found
