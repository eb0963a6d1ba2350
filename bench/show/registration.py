"""What a protocol said before its first cell was scored, and when it said something else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import records, typed
from bench.errors import BenchError
from bench.plan import Plan
from bench.protocol import Protocol
from bench.report.supplement import Registered
from bench.runtime.provenance import tree
from bench.store import Store, write_atomic


def note(protocols: Sequence[Protocol], plan: Plan, store: Store) -> None:
    """Write down what protocols say, where the last note of them says something else.

    Raises:
        BenchError: the notes of a protocol cannot be read.
    """
    for protocol in protocols:
        before, stated = read(store, protocol.name), _stated(protocol)
        if before and (before[-1].content, before[-1].scale, before[-1].overrides) == stated:
            continue
        jobs = {cell.evaluate for cell in plan.cells[protocol.name]}
        scored = sum(records.done(plan, store, job) for job in jobs)
        time = datetime.now(UTC).isoformat(timespec="seconds")
        new = Registered(time, *stated, tree().commit, scored, len(jobs))
        text = json.dumps([typed.plain(entry) for entry in (*before, new)], indent=1)
        _file(store, protocol.name).parent.mkdir(exist_ok=True)
        write_atomic(_file(store, protocol.name), text)


def read(store: Store, protocol: str) -> tuple[Registered, ...]:
    """Return the notes of a protocol, oldest first; none where it was run before such notes were made.

    Raises:
        BenchError: they cannot be read.
    """
    file = _file(store, protocol)
    try:
        return typed.read(tuple[Registered, ...], file.read_bytes())
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise BenchError(f"{file}: damaged ({error}); move it away and run again") from None


def _stated(protocol: Protocol) -> tuple[str, str, tuple[str, ...]]:
    return protocol.origin.content, protocol.scale, protocol.overrides


def _file(store: Store, protocol: str) -> Path:
    return store.root / "registered" / f"{protocol}.json"
