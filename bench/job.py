"""A unit of work, named by its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

KINDS = ("prepare", "guard", "pretrain", "finetune", "evaluate", "latency", "embed")
# raised by hand when a kind's numbers change on purpose. prepare 2 and 3: another layout of its files;
# finetune 2: labels had been flipped along other axes than their images; finetune 3, evaluate 2: windows
# larger than the volume had been padded with 0 and not, as in training, with its lowest value
VERSIONS = {**dict.fromkeys(KINDS, 1), "prepare": 3, "finetune": 3, "evaluate": 2}


@dataclass(frozen=True)
class Job:
    """One node of the plan.

    ``id`` is the first 16 hex digits of SHA-256 over kind, version, spec and the ids of ``needs``:
    no path, host, protocol, row or scale is part of it, so equal work is one job everywhere.
    """

    kind: str
    spec: dict[str, Any]
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Return the job's name."""
        content = {
            "kind": self.kind,
            "version": VERSIONS[self.kind],
            "spec": self.spec,
            "needs": list(self.needs),
        }
        return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def listed(value: Any) -> Any:
    """Return tuples as lists, so that a spec equals its own JSON."""
    if isinstance(value, dict):
        return {k: listed(v) for k, v in value.items()}
    return [listed(v) for v in value] if isinstance(value, (list, tuple)) else value
