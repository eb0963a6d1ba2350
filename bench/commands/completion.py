"""``bench completion``: a shell's script."""

from __future__ import annotations

import argparse


def body(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from bench.extras.completion import SCRIPTS

    print(SCRIPTS[arguments.shell], end="")
    return 0
