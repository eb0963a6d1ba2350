"""``bench judge``: scores of any tool, and what may be said of them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.extras.judge.judgement import Judgement


def body(arguments: argparse.Namespace) -> int:
    """Judge, print it, write the page; 1 where a requirement does not hold."""
    from bench.extras.judge.page import as_text

    judgement = _judged(arguments)
    required = [(text, *judgement.requirement(text)) for text in arguments.require]
    notes = sys.stderr if arguments.json else sys.stdout
    print(json.dumps(judgement.to_json(), indent=1) if arguments.json else as_text(judgement))
    if arguments.to is not None:
        print(f"page: {judgement.write(arguments.to)}", file=notes)
    for text, held, why in required:
        if held:
            print(f"holds: {text} ({why})", file=notes)
        else:
            print(f"bench: required: {text}: does not hold ({why})", file=sys.stderr)
    return 0 if all(held for _, held, _ in required) else 1


def _judged(arguments: argparse.Namespace) -> Judgement:
    from bench.extras.judge import judge
    from bench.extras.judge.columns import ROLES
    from bench.extras.judge.patients import stated

    given = {name: value for name, value in vars(arguments).items() if value}
    flags = {
        name: given[name]
        for name in ("baseline", "only", "without", "wide", "unit", "infinite")
        if name in given
    }
    higher = True if arguments.higher else False if arguments.lower else None
    return judge(
        arguments.tables,
        higher=higher,
        region=arguments.region,
        patients=stated(arguments.patients or ""),
        **flags,
        **{role: given[role] for role in ROLES if role in given},
    )
