"""``bench new``: a method, data set or network to begin with."""

from __future__ import annotations

import argparse


def body(arguments: argparse.Namespace) -> int:
    """Write the files, and say what to do with them."""
    from bench.extras.new import new

    print("\n".join(new(arguments.kind, arguments.name, arguments.to, int(arguments.dims))))
    return 0
