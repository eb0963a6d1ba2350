"""``bench report``: draw tables, figures and pages from records."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands.flags import as_typed
from bench.commands.stopping import stopping
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.show.reports import Shown
    from bench.store import Store


def body(arguments: argparse.Namespace) -> int:
    """Draw, or show to a browser."""
    from bench.extras.bundle import is_bundle
    from bench.protocol import read_all
    from bench.show.reports import rewrite_report
    from bench.store import Store

    if arguments.port is not None and not arguments.serve:
        raise BenchError(
            f"--port {arguments.port}: works only with --serve; add --serve, or leave --port out"
        )
    if arguments.tables and arguments.paper is None:
        raise BenchError(
            f"--table {arguments.tables[0]}: works only with --paper; add --paper, or leave --table out"
        )
    if arguments.plain and arguments.to is not None:
        raise BenchError(
            f"--to {arguments.to}: --plain prints and writes no page; leave one of the two out"
        )
    bundles = [path for path in arguments.protocols if is_bundle(path)]
    if bundles:
        return _report_bundle(arguments, bundles)
    store, printed = Store.open(arguments.out, create=False), set[str]()
    read = read_all(arguments.protocols, arguments.scale, drawn=True)
    if arguments.paper is not None:
        return _paper(arguments, store, [protocol.name for protocol in read])
    if arguments.serve:
        return _serve(arguments, store, [protocol.name for protocol in read])
    for path, protocol in zip(arguments.protocols, read, strict=True):
        to = arguments.to
        if to is not None and len(arguments.protocols) > 1:
            to = to / protocol.name  # one folder each, or the last would replace the others
        printed |= tell(rewrite_report(path, arguments.scale, store, to, plain=arguments.plain))
    return 1 if printed else 0


def _paper(arguments: argparse.Namespace, store: Store, names: list[str]) -> int:
    """Write what a paper takes over: each protocol in a folder of its own where there are several."""
    from bench.show.reports import write_paper

    others = {"--serve": arguments.serve, "--plain": arguments.plain, "--to": arguments.to}
    for flag, given in others.items():
        if given:
            raise BenchError(f"{flag}: --paper writes no page; leave one of the two flags out")
    for path, name in zip(arguments.protocols, names, strict=True):
        folder = arguments.paper / name if len(names) > 1 else arguments.paper
        written = write_paper(path, arguments.scale, store, folder, arguments.tables)
        print("\n".join(f"{as_typed(file)}: {title}" for file, title in written))
    return 0


def _report_bundle(arguments: argparse.Namespace, bundles: list[Path]) -> int:
    """Draw what a bundle holds: each protocol in a folder of its own where there are several."""
    from bench.extras.bundle.opening import draw, opened
    from bench.report.index import write as write_index

    file = bundles[0]
    if arguments.paper is not None:
        raise BenchError(f"{file}: is a bundle; --paper reads an output folder: leave --paper out")
    if len(arguments.protocols) > 1:
        raise BenchError(f"{file}: is a bundle; give this file alone")
    if (arguments.to is None and not arguments.plain) or arguments.scale is not None:
        why = "; name a folder for its report with --to"
        if arguments.scale:
            why = ", which has one scale; leave --scale out"
        raise BenchError(f"{file}: is a bundle{why}")
    printed = set[str]()
    with opened(file) as bundle:
        for name in bundle.manifest.protocols:
            several = len(bundle.manifest.protocols) > 1
            to = arguments.to / name if several and arguments.to else arguments.to
            printed |= tell(draw(bundle, name, to))
            if several and arguments.to:
                write_index(arguments.to)
    return 1 if printed else 0


def _serve(arguments: argparse.Namespace, store: Any, names: list[str]) -> int:
    """Show reports to a browser until Ctrl-C."""
    from bench.extras.live.pages import Redrawing, ServedPage, Source
    from bench.extras.live.serve import PORT, Server, address, tunnel
    from bench.show.reports import rows_of
    from bench.show.state import run_name

    if arguments.to is not None or arguments.plain:
        what = "--plain" if arguments.to is None else f"--to {arguments.to}"
        raise BenchError(f"{what}: --serve shows the reports in OUT/reports; leave this flag out")
    sources = [Source(file, arguments.scale) for file in arguments.protocols]
    pages = {name: ServedPage(source) for name, source in zip(names, sources, strict=True)}
    for name, page in pages.items():
        if not run_name(store, name):
            rows_of(store, name, page.source.file)
    redrawing = Redrawing(
        store, pages, lambda line: print(f"bench: {line}", file=sys.stderr, flush=True)
    )
    with Server(store, redrawing, PORT if arguments.port is None else arguments.port) as server:
        print(address(server.port), "from another machine, through:", tunnel(server.port))
        print("Ctrl-C ends it", flush=True)
        try:
            with stopping(saves=False):
                server.serve_forever()
        except KeyboardInterrupt:
            print("\nbench: no longer served", file=sys.stderr)
        finally:
            redrawing.close()
    return 0


def tell(shown: Shown, *, quiet: bool = False) -> set[str]:
    """Print a finished report with what failed, and return the jobs that did; ``quiet``: not the table."""
    from bench.show import screen

    lines = {f.job: f.line for f in shown.failures}
    text = [*([] if quiet else [shown.text]), *lines.values()]
    if shown.page is not None:
        page, name = (shown.page.with_name("table.md"), "table") if quiet else (shown.page, "page")
        text.append(f"{name}: {as_typed(page)}")
    screen.tell("\n".join(text))
    return set(lines)
