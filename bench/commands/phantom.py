"""``bench phantom``: synthetic cases in a data set's official layout."""

from __future__ import annotations

import argparse

from bench.errors import BenchError


def body(arguments: argparse.Namespace) -> int:
    """Write them."""
    from bench import registry
    from bench.phantoms import synthetic

    dataset = registry.load("dataset", arguments.dataset)
    if arguments.cases < 1:
        raise BenchError(f"--cases {arguments.cases}: needs at least 1")
    folder = arguments.directory / arguments.dataset
    if folder.exists() and any(folder.iterdir()):
        raise BenchError(f"{folder}: is not empty; name another DIR")
    synthetic.write(dataset, folder, arguments.cases, arguments.seed)
    print(f"{folder}: {arguments.cases} synthetic cases of {arguments.dataset}")
    return 0
