"""``bench init``: a first protocol over a folder of one's own."""

from __future__ import annotations

import argparse
import sys


def body(arguments: argparse.Namespace) -> int:
    """Ask, write, and say what was written."""
    from bench.extras.init import Stated, init
    from bench.show.screen import bar

    def ask(question: str, default: str) -> str:
        if not sys.stdin.isatty():
            return default
        try:
            return input(f"{question} [{default}]: ").strip() or default
        except EOFError:
            return default

    stated = Stated(
        arguments.labels,
        arguments.channels,
        tuple(arguments.image),
        arguments.label or "",
        arguments.links,
        arguments.patients or "",
        arguments.network,
    )
    with bar(f"checking {arguments.folder}") as progress:
        lines = init(arguments.folder, arguments.to, stated, ask, arguments.workers, progress)
    print("\n".join(lines))
    return 0
