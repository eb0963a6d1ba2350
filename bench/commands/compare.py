"""``bench compare``: two folders or bundles, cell by cell, or by how their probes and fine-tunings rank methods."""

from __future__ import annotations

import argparse
import json

from bench.errors import BenchError


def body(arguments: argparse.Namespace) -> int:
    """Compare, and print it."""
    from bench.extras.bundle.opening import as_folder
    from bench.extras.compare.comparison import as_json, as_text, compare, sides

    if arguments.ranks:
        return _ranks(arguments)
    if arguments.to is not None:
        raise BenchError(
            f"--to {arguments.to}: works only with --ranks; add --ranks, or leave --to out"
        )
    with as_folder(arguments.a) as a, as_folder(arguments.b) as b:
        comparison = compare(*sides((arguments.a, a), (arguments.b, b), arguments.protocol))
    print(json.dumps(as_json(comparison), indent=1) if arguments.json else as_text(comparison))
    return 1 if comparison.beyond else 0


def _ranks(arguments: argparse.Namespace) -> int:
    """Draw the page of ranks by probe and by fine-tuning, and print which rows pair."""
    from bench.extras.bundle.opening import as_folder
    from bench.extras.compare.comparison import every_side
    from bench.extras.compare.ranks import ranked
    from bench.extras.compare.ranks_page import as_text, write
    from bench.store import refuse_file

    if arguments.to is None:
        raise BenchError("--ranks: writes a page; name its folder with --to DIR")
    refuse_file(arguments.to)
    if arguments.json or arguments.protocol is not None:
        raise BenchError(
            "--ranks: does not work with --json or --protocol; in place of --protocol, name the file "
            "records/<name>.parquet of that protocol; in place of --json, read table.csv in the folder of --to"
        )
    with as_folder(arguments.a) as a, as_folder(arguments.b) as b:
        ranks = ranked(every_side((arguments.a, a), (arguments.b, b)))
        page = write(ranks, arguments.to)
    print(f"{as_text(ranks)}\npage: {page}")
    return 0
