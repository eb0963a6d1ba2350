"""``bench compete``: one more method beside a protocol's recorded rows."""

from __future__ import annotations

import argparse

from bench.commands import flags, plan, run
from bench.commands.stopping import stopping


@stopping(saves=False)
def body(arguments: argparse.Namespace) -> int:
    """Plan the newcomer's row alone, refuse what cannot be compared, run it and say where it stands."""
    from bench import run as doing
    from bench.extras.compete import protocol_with_row, standing, terms
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
    added = protocol_with_row.entered(
        track, arguments.method, arguments.network, arguments.params, arguments.pretrain
    )
    arguments.redo = None
    cluster = flags.cluster(arguments)
    with added.tried() as file:
        only, sets = {"row": [added.row]}, tuple(track.beside.overrides)
        request = Request((file,), arguments.out, None, arguments.data, only, sets)
        (protocol,) = request.read()
        processes = cluster.world if cluster else 1
        planned = doing.make_plan(
            request, [protocol], need_data=not arguments.dry_run, processes=processes, bar=bars(how)
        )
        terms.check(track, added, protocol, planned)
        if gone := terms.lacking(track, added, protocol, planned):
            run.say(gone)
        if arguments.dry_run:
            return plan.tell(arguments, [protocol], planned)
    to_do = doing.todo(planned, flags.seen(arguments.out))
    refuse_half(planned, to_do, flags.without_gpu(arguments, cluster))
    flags.require_executor(arguments)
    store = Store.open(arguments.out)  # only now: what is refused leaves nothing
    file = added.put(store)
    # as it stays, its paths from there
    (protocol,) = read_all([file], None, track.beside.overrides)
    refuse_others([protocol], store)
    for line in keep([added.name], store):
        run.say(line)
    code = run.carry_out(run.Work.of(arguments, [file], [protocol], planned, store, cluster))
    print(standing.as_text(track, added, store))
    return code
