"""``bench bundle`` and ``bench bundle verify``: one file to pass on."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from bench.errors import BenchError


def body(arguments: argparse.Namespace) -> int:
    """Write a bundle, or judge one."""
    first, *more = arguments.what
    if first == Path("verify"):
        return _bundle_verify(arguments, more)
    from bench.extras.bundle.making import bundle, name_of, put
    from bench.protocol.named import find
    from bench.store import Store

    if arguments.json:
        raise BenchError("--json: only 'bench bundle verify FILE' has this flag; leave it out")
    bundled = bundle(
        [find(path) for path in arguments.what],
        Store.open(arguments.out, create=False),
        arguments.data,
    )
    for line in bundled.notes:
        print(f"bench: {line}", file=sys.stderr)
    print(put(bundled, arguments.to or Path(name_of(bundled))))
    return 0


def _bundle_verify(arguments: argparse.Namespace, files: list[Path]) -> int:
    from bench.extras.bundle.verifying import as_text, verify

    if len(files) != 1 or arguments.to or arguments.data:
        raise BenchError("bundle verify: takes one FILE, and no flag but --json")
    verified = verify(files[0])
    print(
        json.dumps({**asdict(verified), "file": str(verified.file)}, indent=1)
        if arguments.json
        else as_text(verified)
    )
    return 1 if verified.findings else 0
