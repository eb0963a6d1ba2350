"""``bench check``: open every case of a data set and list what is wrong."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path


def body(arguments: argparse.Namespace) -> int:
    """Judge, print what is there, and draw it where asked."""
    from bench.data.check import check
    from bench.data.roots import Roots, adapter
    from bench.extras.survey import page as survey_page
    from bench.extras.survey.measure import Survey
    from bench.show.screen import bar

    roots, name = Roots.here(arguments.data), arguments.dataset
    folder = Path(name).absolute()
    if roots.find(name) is None and folder.is_dir():  # named by its path, as `bench init` takes it
        roots, name = Roots(folder.parent), folder.name
    dataset = adapter(name, roots)
    root = roots.require(name)
    if arguments.to is not None:
        survey_page.check_place(arguments.to)
    survey = Survey(name, dataset, root, draw=arguments.to is not None)
    with bar(f"checking {name}") as progress:
        survey.findings = check(dataset, root, arguments.workers, progress, survey.look)
    if arguments.json:
        print(json.dumps([asdict(f) for f in survey.findings], indent=1))
    else:
        from bench.extras.survey.text import as_text

        print(as_text(survey))
    if arguments.to is not None:
        survey_page.write(survey, arguments.to)
        print(f"page: {arguments.to}", file=sys.stderr if arguments.json else sys.stdout)
    return 1 if survey.findings else 0
