"""``bench status``: how far an output folder is."""

from __future__ import annotations

import argparse
import json
import sys


def body(arguments: argparse.Namespace) -> int:
    """Print it."""
    from bench.commands.flags import as_typed
    from bench.show.screen import tell
    from bench.show.status import as_text, prune, status
    from bench.store import Store

    store = Store.open(arguments.out, create=False)
    for line in prune(store) if arguments.prune else ():
        print(line, file=sys.stderr)
    by_state = status(store)
    if arguments.json:
        print(json.dumps(by_state, indent=1))
    else:
        tell(as_text(by_state, as_typed(arguments.out)))
    return 0
