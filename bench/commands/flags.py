"""What the flags of a command ask for, as the rooms below take it."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.executors.slurm.profile import Profile
    from bench.imported_scores import Cells
    from bench.plan import Plan
    from bench.run import Request
    from bench.store import Store


def request(arguments: argparse.Namespace) -> Request:
    """Return what is asked of a run or a plan."""
    from bench.run import Request

    a, chosen = arguments, only(arguments, "method=voco")
    protocols, sets = tuple(a.protocols), tuple(a.sets)
    return Request(protocols, a.out, a.scale, a.data, chosen, sets, a.phantoms)


def only(arguments: argparse.Namespace, example: str = "seed=0") -> dict[str, list[str]]:
    """Return the values of ``--only`` by key."""
    values: dict[str, list[str]] = {}
    for text in arguments.only:
        key, equals, value = text.partition("=")
        if not equals:
            raise BenchError(f"--only {text}: write KEY=VALUE, e.g. {example}")
        values.setdefault(key, []).append(value)
    return values


def cluster(arguments: argparse.Namespace) -> Profile | None:
    """Return what is asked of a cluster, None where jobs run here."""
    if arguments.executor == "slurm":
        from bench.executors.slurm.profile import profile

        return profile(arguments.cluster)
    if arguments.cluster is not None:
        raise BenchError(
            f"--cluster {arguments.cluster}: works only with SLURM; add --executor slurm, or leave --cluster out"
        )
    return None


def require_executor(arguments: argparse.Namespace) -> None:
    """Refuse --executor slurm where nothing can be submitted.

    Raises:
        BenchError: a tool of SLURM is missing.
    """
    if arguments.executor == "slurm":
        from bench.executors.slurm import squeue

        squeue.require()


def as_typed(path: Path) -> str:
    """Return a path as a person writes it in this folder."""
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def seen(out: Path) -> Store:
    """Return an output folder to look at, whether it is there or not; none is made."""
    from bench.store import Store

    return Store.open(out, create=False) if (out / "bench.json").exists() else Store(out)


def imported(arguments: argparse.Namespace, plan: Plan, store: Store) -> Cells:
    """Leave out of a plan what others have scored; return that by protocol."""
    if not arguments.records and not any((store.root / "tracks").glob("*.parquet")):
        return {}
    from bench import imported_scores  # a fifth of a second, which most plans do without
    from bench.extras.bundle.opening import as_folder

    with ExitStack() as stack:
        places = {place: stack.enter_context(as_folder(place)) for place in arguments.records}
        return imported_scores.leave_out(plan, store, places)


def whole_numbers(flag: str, text: str | None) -> tuple[int, ...] | None:
    """Return comma-separated whole numbers, None where the flag is not given."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BenchError(
            f"{flag} {text}: write whole numbers with commas between, as 0,2"
        ) from None


def workers(arguments: argparse.Namespace, plan: Plan) -> int:
    """Return how many worker processes run jobs here."""
    if arguments.workers:
        return int(arguments.workers)
    from bench.process import gpus

    threads = max(plan.threads.values(), default=1)
    return gpus() or max(1, (os.cpu_count() or 1) // threads)


def without_gpu(arguments: argparse.Namespace, cluster: Profile | None) -> str:
    """Return what will run jobs without a GPU and what may have one, in words; empty where one is there."""
    from bench.process import gpus

    if cluster is None:
        if gpus():
            return ""
        return "this machine has none; use --executor slurm --cluster NAME for one that has"
    if cluster.asks_for_gpus:
        return ""
    if arguments.cluster is None:
        return "SLURM is asked for none without --cluster; name a profile of bench.toml with 'gpus'"
    return f"profile [cluster.{arguments.cluster}] of bench.toml asks for none; give it 'gpus' or 'gres'"
