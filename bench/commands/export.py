"""``bench export``: a job's weights for elsewhere."""

from __future__ import annotations

import argparse


def body(arguments: argparse.Namespace) -> int:
    """Write the weights."""
    from bench.commands.flags import only
    from bench.export import export
    from bench.store import Store

    store = Store.open(arguments.out, create=False)
    given = arguments.job, arguments.to, arguments.format, only(arguments), arguments.plans
    print(export(store, *given))
    return 0
