"""``bench score``: predictions that lie in a folder."""

from __future__ import annotations

import argparse
import json
import sys


def body(arguments: argparse.Namespace) -> int:
    """Score, and print it."""
    from bench.metrics import CONVENTIONS
    from bench.metrics.request import named
    from bench.score import as_json, doubts, score_several, verified
    from bench.show.scored import as_ranking, as_text

    metrics = named(arguments.metrics)
    conventions = (arguments.convention,) if arguments.convention else CONVENTIONS
    first, *more = arguments.prediction
    several = bool(more)
    options = arguments.empty, arguments.verify, arguments.ignore_geometry
    conventions = conventions if several else conventions[:1]
    rows, mismatches = score_several((first, *more), arguments.reference, metrics, conventions, *options)
    text = as_ranking if several else as_text
    print(json.dumps(as_json(rows, several=several), indent=1) if arguments.json else text(rows))
    notes = [f"differs from medpy: {line}" for line in mismatches]
    if arguments.ignore_geometry:
        notes.insert(0, "voxels were compared as they are stored, in the references' spacing")
    else:
        notes = [*doubts(tuple(arguments.prediction), arguments.reference), *notes]
    if arguments.verify:
        notes.append(verified(rows, metrics, conventions[0], len(mismatches)))
    for line in notes:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if mismatches else 0
