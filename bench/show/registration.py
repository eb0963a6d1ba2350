"""What a protocol said before its first cell was scored, and when it said something else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import records, typed
from bench.errors import BenchError
from bench.plan import Plan
from bench.protocol import Protocol
from bench.report.registration import TEXTS, parts
from bench.report.supplement import Registered
from bench.runtime.provenance import tree
from bench.store import Store, write_atomic


def note(
    protocols: Sequence[Protocol],
    plan: Plan,
    store: Store,
    others: Sequence[Path] = (),
    copied: Set[str] = frozenset(),
) -> None:
    """Write down what protocols say, where the last note of them says something else.

    The notes of another folder from which scores are used hold here, too, if it ran this very protocol, or one
    that differs in texts alone.

    Args:
        protocols: that are run.
        plan: has their cells.
        store: the output folder, which keeps the notes.
        others: folders from which scores are used.
        copied: the jobs of which scores were copied from there.

    Raises:
        BenchError: the notes of a protocol cannot be read.
    """
    for protocol in protocols:
        before, stated = read(store, protocol.name), _stated(protocol)
        notes = before or _of_another(protocol, others)
        now = parts(protocol)
        if not notes or _text_of(notes[-1]) != stated:
            jobs = {cell.evaluate for cell in plan.cells[protocol.name]}
            scored = sum(job in copied or records.done(plan, store, job) for job in jobs)
            time = datetime.now(UTC).isoformat(timespec="seconds")
            notes = (*notes, Registered(time, *stated, tree().commit, scored, len(jobs), now))
        elif not notes[-1].parts:  # an older bench did not note them
            notes = (*notes[:-1], replace(notes[-1], parts=now))
        if notes != before:
            text = json.dumps(typed.plain(notes), indent=1)
            _file(store, protocol.name).parent.mkdir(exist_ok=True)
            write_atomic(_file(store, protocol.name), text)


def _of_another(protocol: Protocol, folders: Iterable[Path]) -> tuple[Registered, ...]:
    stated, wanted = _stated(protocol), _without_texts(parts(protocol))

    def same(noted: Registered) -> bool:
        alike = _text_of(noted)[1:] == stated[1:] and _without_texts(noted.parts) == wanted
        return alike or _text_of(noted) == stated

    notes = (read(Store(folder), protocol.name) for folder in folders if folder.is_dir())
    return next((of for of in notes if any(map(same, of))), ())


def _without_texts(stated: Mapping[str, str]) -> dict[str, str]:
    return {key: of for key, of in stated.items() if key not in TEXTS}


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


def _text_of(noted: Registered) -> tuple[str, str, tuple[str, ...]]:
    return noted.content, noted.scale, noted.overrides


def _file(store: Store, protocol: str) -> Path:
    return store.root / "registered" / f"{protocol}.json"
