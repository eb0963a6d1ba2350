"""Positive controls: what a study finds where there is something to be found.

``controls: [ceiling, doses]`` adds, beside a scratch row of each network that is pretrained, rows that are
pretrained with the labels of the section's training scans. ``ceiling`` starts from these weights; each dose
starts from weights that lie between fresh ones and these.
"""

from __future__ import annotations

from typing import Any

from bench import registry
from bench.document import Document
from bench.errors import BenchError
from bench.protocol.model import Protocol, Row

CONTROLS = ("ceiling", "doses")
DOSES = (0.25, 0.5, 0.75)
CEILING = "Ceiling: pretrained with labels"


def spelled_out(document: Document) -> Document:
    """Return a protocol in which the positive controls that it asks for are rows."""
    value, rows = document.value, document.value.get("rows")
    stated = value.get("controls") or []
    wanted = [control for control in CONTROLS if isinstance(stated, list) and control in stated]
    if not wanted or not isinstance(rows, dict):
        return document
    scratch = {
        name: row for name, row in rows.items() if isinstance(row, dict) and _from_scratch(row)
    }
    # a scratch row alone on its network is there for its own sake: nothing is pretrained that it controls
    networks = _by_network(scratch)
    pretrained = _by_network({n: r for n, r in rows.items() if n not in scratch})
    networks = {n: base for n, base in networks.items() if n in pretrained} or networks
    if not networks:
        where = document.where(("controls", str(stated.index(wanted[0]))))
        raise BenchError(
            f"{where}: {wanted[0]!r} needs a row from scratch; add one, or leave it out"
        )
    all_rows = dict(rows)
    for network, base in networks.items():
        controls = _controls(
            rows, network, scratch[base], wanted, f" {network}" if len(networks) > 1 else ""
        )
        if double := controls.keys() & all_rows.keys():
            where = document.where(("rows", min(double)))
            raise BenchError(f"{where}: a positive control has this name; rename the row")
        all_rows |= controls
    return Document(document.path, {**value, "rows": all_rows}, document.lines, document.drawn)


def _by_network(rows: dict[str, Any]) -> dict[str, str]:
    """Return the first row on each network."""
    first: dict[str, str] = {}
    for name, row in rows.items():
        if isinstance(row, dict):
            first.setdefault(str(row.get("network")), name)
    return first


def _controls(
    rows: dict[str, Any], network: str, scratch: dict[str, Any], wanted: list[str], suffix: str
) -> dict[str, Any]:
    """Return the positive controls on one network, fine-tuned as its scratch row is."""
    method, params = _method(_trains_decoder(rows, network))
    shared: dict[str, Any] = {
        key: scratch[key] for key in ("network", "finetune", "sections") if key in scratch
    }
    row: dict[str, Any] = {"method": method, "params": params, "ceiling": True, **shared}
    added: dict[str, Any] = {}
    if "ceiling" in wanted:
        added[f"ceiling{suffix}"] = {**row, "title": CEILING}
    for dose in DOSES if "doses" in wanted else ():
        added[f"dose {dose:g}{suffix}"] = {
            **row,
            "dose": dose,
            "title": f"Dose {dose:g} of the ceiling",
        }
    return added


def _method(decoder: bool) -> tuple[str, dict[str, Any]]:
    """Return the method that learns from labels, and its parameters as a positive control."""
    for name in registry.names("method"):
        stated = registry.declared("method", name, "ceiling", None)
        if stated:
            return name, dict(stated["decoder" if decoder else "encoder"])
    raise BenchError(
        "controls: no registered method can be pretrained with labels as a ceiling; leave 'ceiling' and 'doses' out"
    )


def _from_scratch(row: dict[str, Any]) -> bool:
    method = row.get("method")
    return method in registry.names("method") and not registry.pretrains(str(method))


def _trains_decoder(rows: dict[str, Any], network: str) -> bool:
    methods = {
        str(row.get("method"))
        for row in rows.values()
        if isinstance(row, dict) and row.get("network") == network and not row.get("ceiling")
    }
    names = methods & set(registry.names("method"))
    return any(
        registry.declared("method", name, "needs", "features") == "decoder" for name in names
    )


def check(protocol: Protocol, name: str, row: Row) -> None:
    """Refuse a positive control where there are no label maps to learn from, or that is told its pretraining.

    Raises:
        BenchError: names file, line and what to do.
    """
    where = protocol.where(("rows", name))
    pretrain_keys = ("rows", name, "pretrain")
    by_file = any(
        keys[:3] == pretrain_keys and isinstance(line, int)
        for keys, line in protocol.stated.lines.items()
    )
    if (row.pretrain and by_file) or row.init or row.at is not None:
        raise BenchError(
            f"{where}: a ceiling (a row pretrained with labels) always uses its section's recipe; leave "
            "'pretrain', 'init' and 'at' out"
        )
    for index in protocol.sections_of(row):
        section = protocol.finetune[index]
        if section.steps is section.epochs is None:
            raise BenchError(
                f"{protocol.where(('finetune', str(index)))}: a ceiling (a row pretrained with labels) needs "
                "the length of training of this section; set 'steps' or 'epochs'"
            )
        if registry.declared("dataset", section.dataset, "task", "segmentation") != "segmentation":
            raise BenchError(
                f"{where}: section {protocol.sections[index]!r} is no segmentation, but a "
                "ceiling learns from label maps; name only the other sections in 'sections', "
                "or leave the ceiling out"
            )
