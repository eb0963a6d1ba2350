"""``bench verify``: compare an output folder with its digests."""

from __future__ import annotations

import argparse


def body(arguments: argparse.Namespace) -> int:
    """Compare, and print it."""
    from bench.store import Store
    from bench.verify import as_text, verify

    verified = verify(Store.open(arguments.out, create=False))
    print(as_text(verified))
    return 1 if verified.findings else 0
