"""``bench score``: predictions that lie in a folder."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.metrics.request import Wanted


def body(arguments: argparse.Namespace) -> int:
    """Score, and print it."""
    from bench.metrics import CONVENTIONS
    from bench.metrics.request import named
    from bench.score import as_json, doubts, gaps, score_several, strangers, unmet, verified
    from bench.show.scored import as_ranking, as_text

    metrics, wanted = named(arguments.metrics), _wanted(arguments)
    conventions = (arguments.convention,) if arguments.convention else CONVENTIONS
    several = len(arguments.prediction) > 1
    options = arguments.empty, arguments.verify, arguments.ignore_geometry, wanted
    conventions = conventions if several else conventions[:1]
    predictions, reference = tuple(arguments.prediction), arguments.reference
    rows, mismatches = score_several(predictions, reference, metrics, conventions, *options)
    if not rows:
        raise BenchError(
            "no file has a label that is scored (0 is background, and --ignore is left out); name labels by --labels"
        )
    text = as_ranking if several else as_text
    print(json.dumps(as_json(rows, several=several), indent=1) if arguments.json else text(rows))
    notes = [f"differs from medpy: {line}" for line in mismatches]
    if arguments.ignore_geometry:
        notes.insert(0, "voxels were compared as they are stored, in the references' spacing")
    else:
        notes = [*doubts(predictions, reference), *notes]
    left_out = [*gaps(predictions, reference), *strangers(rows, wanted)]
    notes = [*left_out, *unmet(rows, wanted), *notes]
    if arguments.verify:
        notes.append(verified(rows, metrics, conventions[0], len(mismatches)))
    for line in notes:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if mismatches else 0


def _wanted(arguments: argparse.Namespace) -> Wanted:
    """Return which labels or regions are scored, and what is void."""
    from bench.metrics.request import Wanted
    from bench.score import region_set

    if arguments.labels is not None and arguments.regions is not None:
        raise BenchError("--labels and --regions: both set what is scored; give only one of them")
    labels = None
    if arguments.labels is not None:
        values = (_value("--labels", text) for text in arguments.labels.split(","))
        labels = tuple(dict.fromkeys(values))
    regions = None if arguments.regions is None else region_set(arguments.regions)
    ignore = None if arguments.ignore is None else _value("--ignore", arguments.ignore)
    return Wanted(labels, regions, ignore, _mapping(arguments.map))


def _mapping(text: str) -> dict[int, int]:
    """Return the label by value of a prediction out of ``255=1``."""
    from bench.errors import shown

    mapping = dict[int, int]()
    for part in filter(None, text.split(",")):
        value, equals, label = part.partition("=")
        number = _value("--map", value)
        if number in mapping or not number or not equals:
            raise BenchError(f"--map {shown(text)}: give each value but 0 one label, e.g. 255=1")
        mapping[number] = _value("--map", label)
    return mapping


def _value(flag: str, text: str) -> int:
    from bench.errors import BenchError, shown

    text = text.strip()
    if not (text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        why = "is no label value; give whole numbers from 0 to 65535"
        raise BenchError(f"{flag}: {shown(text)} {why}")
    return int(text)
