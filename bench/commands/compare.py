"""``bench compare``: two folders or bundles, cell by cell."""

from __future__ import annotations

import argparse
import json


def body(arguments: argparse.Namespace) -> int:
    """Compare, and print it."""
    from bench.extras.bundle.opening import as_folder
    from bench.extras.compare.comparison import as_json, as_text, compare, sides

    with as_folder(arguments.a) as a, as_folder(arguments.b) as b:
        comparison = compare(*sides((arguments.a, a), (arguments.b, b), arguments.protocol))
    print(json.dumps(as_json(comparison), indent=1) if arguments.json else as_text(comparison))
    return 1 if comparison.beyond else 0
