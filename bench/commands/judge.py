"""``bench judge``: scores of any tool, and what may be said of them."""

from __future__ import annotations

import argparse
import json
import sys

ROLES = (
    "method",
    "case",
    "patient",
    "run",
    "pretraining",
    "fold",
    "dataset",
    "target",
    "metric",
    "score",
)


def body(arguments: argparse.Namespace) -> int:
    """Judge, print it, write the page; 1 where a requirement does not hold."""
    from bench.extras.judge import judge
    from bench.extras.judge.page import as_text
    from bench.extras.judge.patients import stated

    columns = {role: value for role in ROLES if (value := getattr(arguments, role))}
    judgement = judge(
        arguments.tables,
        baseline=arguments.baseline or "",
        higher=True if arguments.higher else False if arguments.lower else None,
        region=arguments.region,
        patients=stated(arguments.patients or ""),
        only=arguments.only,
        wide=arguments.wide or "",
        unit=arguments.unit or "",
        infinite=arguments.infinite or "",
        **columns,
    )
    required = [(text, *judgement.requirement(text)) for text in arguments.require]
    if arguments.json:
        print(json.dumps(judgement.to_json(), indent=1))
    else:
        print(as_text(judgement))
    if arguments.to is not None:
        page = judgement.write(arguments.to)
        print(f"page: {page}", file=sys.stderr if arguments.json else sys.stdout)
    for text, held, why in required:
        if held:
            print(f"holds: {text} ({why})", file=sys.stderr if arguments.json else sys.stdout)
        else:
            print(f"bench: required: {text}: does not hold ({why})", file=sys.stderr)
    return 0 if all(held for _, held, _ in required) else 1
