"""``bench list``: what is registered."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from bench.errors import BenchError


def body(arguments: argparse.Namespace) -> int:
    """Print what there is, or one data set whole."""
    from bench.show import listing

    if arguments.name is not None:
        if arguments.what != "datasets":
            raise BenchError(
                f"list {arguments.what} {arguments.name}: takes no NAME; only 'list datasets' does"
            )
        dataset = listing.one_dataset(arguments.name, arguments.data)
        print(json.dumps(dataset, indent=1) if arguments.json else listing.dataset_as_text(dataset))
        return 0
    if arguments.data is not None:
        raise BenchError(
            f"--data {arguments.data}: only 'bench list datasets NAME' has this flag; leave it out"
        )
    things, broken = listing.listed(arguments.what)
    # a file or another program gets one whole line for each thing
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    text = listing.as_text(arguments.what, things, width)
    print(json.dumps(things, indent=1) if arguments.json else text)
    for line in broken:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if broken else 0
