"""``bench cancel``: take a run's tasks out of SLURM's queue."""

from __future__ import annotations

import argparse


def body(arguments: argparse.Namespace) -> int:
    """Cancel, and say how many tasks."""
    from bench.executors.slurm import cancel
    from bench.store import Store

    count = cancel(Store.open(arguments.out, create=False))
    print(f"{count} tasks cancelled" if count else "nothing in the queue")
    return 0
