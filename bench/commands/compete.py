"""``bench compete``: one more method beside a protocol's recorded rows."""

from __future__ import annotations

import argparse

from bench.commands import asked, plan, run
from bench.commands.stopping import stopping


def body(arguments: argparse.Namespace) -> int:
    """Plan the newcomer's row alone, refuse what cannot be compared, run it and say where it stands."""
    with stopping(saves=False):
        return _body(arguments)


def _body(arguments: argparse.Namespace) -> int:
    from bench import run as doing
    from bench.extras.compete import entry, standing, terms
    from bench.extras.compete.track import tracked
    from bench.extras.trackers.tracker import check
    from bench.imported_scores import keep
    from bench.plan.feasible import refuse_half
    from bench.protocol import read_all
    from bench.run import Request
    from bench.show.reports import refuse_others
    from bench.show.screen import bars, manner
    from bench.store import Store

    how = manner(quiet=arguments.quiet, lines=arguments.lines)
    check(arguments.log)
    track = tracked(arguments.track, arguments.records)
    one = entry.entered(
        track, arguments.method, arguments.network, arguments.params, arguments.pretrain
    )
    arguments.redo = None
    cluster = asked.cluster(arguments)
    with one.tried() as file:
        request = Request(
            (file,),
            arguments.out,
            None,
            arguments.data,
            {"row": [one.row]},
            tuple(track.beside.overrides),
        )
        (protocol,) = request.read()
        processes = cluster.world if cluster else 1
        found = doing.make_plan(
            request, [protocol], need_data=not arguments.dry_run, processes=processes, bar=bars(how)
        )
        terms.check(track, one, protocol, found)
        if gone := terms.lacking(track, one, protocol, found):
            run.say(gone)
        if arguments.dry_run:
            return plan.tell(arguments, [protocol], found)
    to_do = doing.todo(found, asked.seen(arguments.out))
    refuse_half(found, to_do, asked.without_gpu(arguments, cluster))
    store = Store.open(arguments.out)  # only now: what is refused leaves nothing
    file = one.put(store)
    # as it stays, its paths from there
    (protocol,) = read_all([file], None, track.beside.overrides)
    refuse_others([protocol], store)
    for line in keep([one.name], store):
        run.say(line)
    workers = asked.workers(arguments, found) if cluster is None else None
    keep_unfinished = arguments.keep_unfinished
    code = run.carry_out(
        run.Work(
            [file], [protocol], found, store, cluster, workers, how, arguments.log, keep_unfinished
        )
    )
    print(standing.as_text(track, one, store))
    return code
