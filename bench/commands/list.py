"""``bench list``: what is registered."""

from __future__ import annotations

import argparse
import json
import sys

from bench.errors import BenchError


def body(arguments: argparse.Namespace) -> int:
    """Print what there is, or one data set whole."""
    from bench.show import listing, one_dataset

    if arguments.name is not None:
        if arguments.what != "datasets":
            raise BenchError(
                f"list {arguments.what} {arguments.name}: takes no NAME; it is of 'list datasets'"
            )
        one = one_dataset.entry(arguments.name, arguments.data)
        print(json.dumps(one, indent=1) if arguments.json else one_dataset.as_text(one))
        return 0
    if arguments.data is not None:
        raise BenchError(f"--data {arguments.data}: is of 'bench list datasets NAME'; leave it out")
    found, broken = listing.entries(arguments.what)
    print(json.dumps(found, indent=1) if arguments.json else listing.as_text(arguments.what, found))
    for line in broken:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if broken else 0
