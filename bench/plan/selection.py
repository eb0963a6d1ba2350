"""``--only KEY=VALUE``: which cells of the protocols are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.errors import BenchError, unknown
from bench.protocol import Protocol, controls_of, finetune_of, labelled

KEYS = ("method", "network", "dataset", "section", "fraction", "fold", "seed", "row")


class Selection:
    """What ``--only`` asks for, and what it could have asked for over all protocols."""

    def __init__(self, chosen: dict[str, list[str]] | None) -> None:
        self._chosen = chosen or {}
        self._values: dict[str, set[str]] = {}

    def wants(self, key: str, *values: Any) -> bool:
        """Tell whether one of ``values`` is asked for; all are where nothing is said of ``key``."""
        chosen = self._chosen.get(key)
        return not chosen or any(str(v) in chosen for v in values)

    def learn(self, protocol: Protocol) -> None:
        """Note what a protocol has by name."""
        rows = protocol.rows.values()
        nets, labels = protocol.networks, set()
        for name, row in protocol.rows.items():
            for index in protocol.sections_of(row):
                labels |= {labelled(name, control) for control in controls_of(protocol, row, index)}
        sections = [finetune_of(protocol, i, r) for r in rows for i in protocol.sections_of(r)]
        choices = {
            "row": {*protocol.rows, *labels},
            "method": {r.method for r in rows},
            "network": set(nets) | {n.network for n in nets.values()},
            "dataset": {t.dataset for t in protocol.finetune},
            "section": {*protocol.sections},
            "fraction": {str(f) for t in sections for f in t.fractions},
            "seed": {str(s) for t in sections for s in t.seeds},
        }
        for key, values in choices.items():
            self.add(key, values)

    def add(self, key: str, values: Iterable[Any]) -> None:
        """Note further values of a key."""
        self._values.setdefault(key, set()).update(map(str, values))

    def check(self, protocols: Iterable[str], left: bool) -> None:
        """Refuse a value that no protocol has, and a choice that leaves nothing.

        Raises:
            BenchError: names the nearest value.
        """
        names = ", ".join(repr(name) for name in protocols)
        for key, values in self._chosen.items():
            if key not in self._values:
                raise BenchError(unknown("key of --only", key, KEYS))
            for value in values:
                if value not in self._values[key]:
                    where = f"{key} in protocol {names}"
                    raise BenchError(
                        f"--only {key}={value}: {unknown(where, value, self._values[key])}"
                    )
        if not left:
            raise BenchError(f"protocol {names}: --only matches nothing; correct or remove it")
