"""A newcomer's place in a track: the track's protocol with one more row, as a file of its own."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import registry
from bench.document import parse, scalar
from bench.errors import BenchError, unknown
from bench.extras.compete.track import Track
from bench.imported_scores import folder_of
from bench.protocol import settings
from bench.store import Store, write_atomic

HEAD = "# {track} with {row}, by 'bench compete': rows but {row} are taken from the records beside this file.\n"

EXAMPLES = {"--params": "temperature=0.2", "--pretrain": "steps=2000"}
NOTE = "Row {row} was run for this report; the other rows are the records of {track}, patient by patient."


def file_of(store: Store, name: str) -> Path:
    """Return where the protocol lies that has a track's rows and one more."""
    return folder_of(store) / f"{name}.yaml"


@dataclass(frozen=True, eq=False)
class AddedRow:
    """One more row of a track."""

    track: Track
    row: str  # its name
    method: str
    network: str  # a key of the protocol's
    params: dict[str, Any]
    pretrain: dict[str, Any]  # what it changes of the track's pretraining

    @property
    def name(self) -> str:
        """Return the name of the protocol that has it."""
        return f"{self.track.name}_with_{self.row}"

    @contextmanager
    def tried(self) -> Iterator[Path]:
        """Give the protocol's file for a while: nothing is known yet to be fit to stay."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            try:
                yield self._written(Path(folder).resolve())
            except BenchError as error:
                message = str(error).replace(f"{Path(folder).resolve()}{os.sep}", "")
                # nobody finds it there
                message = re.sub(rf"^{re.escape(self.name)}\.yaml:[0-9]+: ", "", message)
                raise BenchError(message) from None

    def put(self, store: Store) -> Path:
        """Write the protocol, the track's rows and what stands beside them; return the protocol's file.

        Raises:
            BenchError: records of it lie there that were made with other settings; nothing is written.
        """
        file = file_of(store, self.name)
        records_file = store.root / "records" / f"{self.name}.json"
        if file.exists() and records_file.exists() and file.read_text() != self._text(file):
            raise BenchError(
                f"{file}: has {self.row} in {self.track.name} with other settings, and has "
                "results; use another --out, or remove this file to replace its results"
            )
        self.track.view.copied(file.parent)
        return self._written(file.parent)

    def _written(self, folder: Path) -> Path:
        file = folder / f"{self.name}.yaml"
        write_atomic(file, self._text(file))
        return file

    def _text(self, file: Path) -> str:
        """Return what the protocol's file says where it lies there."""
        text = yaml.safe_dump(
            self._value(file.parent), sort_keys=False, allow_unicode=True, width=120
        )
        return HEAD.format(track=self.track.name, row=self.row) + text

    def _value(self, folder: Path) -> dict[str, Any]:
        """Return what the protocol says, its files named from ``folder``."""
        path = self.track.path
        # no aliases
        document: dict[str, Any] = json.loads(json.dumps(settings.spelled_out(parse(path)).value))
        for part in (document, *document.get("scales", {}).values()):
            part.pop("groups", None)  # their file need not be here
        settings_of_row = {"params": self.params, "pretrain": self.pretrain}
        row = {
            "method": self.method,
            "network": self.network,
            **{k: v for k, v in settings_of_row.items() if v},
        }
        document["plugins"] = [
            *(path.parent / text for text in document.get("plugins", ())),
            *self._brought(),
        ]
        for view in document.get("layout", {}).get("views", ()):
            if "rows" in view:  # whoever competes is shown beside those that a view names
                view["rows"] = [*view["rows"], self.row]
        plugins = (os.path.relpath(file, folder) for file in document["plugins"])
        document |= {
            "name": self.name,
            "scale": self.track.protocol.scale,
            "rows": {**document["rows"], self.row: row},
            "notes": [*document.get("notes", ()), NOTE.format(track=self.track.name, row=self.row)],
            "plugins": [*dict.fromkeys(plugins)],
        }
        rebased: dict[str, Any] = _rebased(document, path.parent, folder)
        return rebased

    def _brought(self) -> list[Path]:
        """Return the method's file where it is from outside and not installed."""
        plugin = registry.outside("method").get(self.method)
        return [plugin.file] if plugin is not None and not plugin.package else []


def entered(
    track: Track,
    method: str,
    network: str | None,
    params: Sequence[str] = (),
    pretrain: Sequence[str] = (),
) -> AddedRow:
    """Return the row that a method is in a track.

    Args:
        track: what it competes with.
        method: its name.
        network: a key of the protocol's; by default its first row's.
        params: ``KEY=VALUE`` each.
        pretrain: likewise, of the pretraining; a dot leads into a section (``optimiser.lr``).

    Raises:
        BenchError: no such method or network, the method is a row already, or it may read test scans.
    """
    networks = registry.load("method", method).networks()
    rows = track.protocol.rows
    net = network or next(iter(rows.values())).network
    if net not in (used := {row.network for row in rows.values()}):
        raise BenchError(
            f"--network {net}: {unknown(f'network with rows in {track.name}', net, used)}"
        )
    kinds = {key: track.protocol.networks[key].network for key in sorted(used)}
    if kinds[net] not in networks:
        fits = " or ".join(key for key, kind in kinds.items() if kind in networks)
        way = f"use --network {fits}"
        if not fits:
            way = f"no row of {track.name} is on a network that it can train"
        raise BenchError(f"--method {method}: cannot train network {net} ({kinds[net]}); {way}")
    given, before = _given("--params", params), _given("--pretrain", pretrain)
    if before.get("leaks") == "allow":
        raise BenchError(
            "--pretrain leaks=allow: would let the method read the track's test scans; leave it out, or "
            "use leaks=drop"
        )
    if "settings" in before:
        raise BenchError(
            "--pretrain settings: a row cannot name a settings file; give each of its keys as KEY=VALUE"
        )
    for name, row in rows.items():
        same = (row.params, row.pretrain) == (given, before) or not (given or before)
        if (row.method, row.network) == (method, net) and same:
            raise BenchError(
                f"--method {method}: is already row {name!r} of {track.name}, on network {net}, and "
                "has its numbers there; for a new row, change --params or --pretrain"
            )
    free = (name for name in (method, f"{method}_{net}", f"{method}_new") if name not in rows)
    return AddedRow(track, next(free), method, net, given, before)


def _given(flag: str, texts: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        *sections, key = path.split(".") if flag == "--pretrain" else [path]
        if not equals or not all((*sections, key)):
            raise BenchError(f"{flag} {text}: write KEY=VALUE, e.g. {EXAMPLES[flag]}")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise BenchError(
                    f"{flag} {text}: {section!r} has a value already; set either the whole section or single keys of it"
                )
        inner[key] = scalar(value)
    return values


def _rebased(value: Any, old: Path, new: Path) -> Any:
    """Return spelled out values without where they come from, weights named from another folder."""
    if isinstance(value, list):
        return [_rebased(item, old, new) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        k: os.path.relpath(old / v, new)
        if k == "init" and isinstance(v, str) and v
        else _rebased(v, old, new)
        for k, v in value.items()
        if k != "settings" or not isinstance(v, str)
    }
