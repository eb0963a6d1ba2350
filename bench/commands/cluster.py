"""``bench cluster check``: try a profile on its cluster."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from bench.commands.stopping import stopping
from bench.errors import BenchError


def body(arguments: argparse.Namespace) -> int:
    """Try, and print each finding as it comes."""
    from bench.executors.slurm import check, squeue
    from bench.executors.slurm.profile import profile
    from bench.store import Store

    if not arguments.wait > 0:
        raise BenchError(f"--wait {arguments.wait}: give seconds above 0")
    stated = profile(arguments.name)
    squeue.require()  # before a folder is made
    store = Store.open(arguments.out)
    checks = []
    with stopping(saves=False):
        for finding in check.check(stated, store.root, arguments.wait):
            checks.append(finding)
            if not arguments.json:
                print(
                    f"{'ok ' if finding.ok else 'NO '} {finding.check}: {finding.detail}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps([asdict(f) for f in checks], indent=1))
    return 0 if all(f.ok for f in checks) else 1
