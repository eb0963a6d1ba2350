"""Commands of a few lines, each with its function; no import is heavy before one is called."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands import flags
from bench.commands.stopping import stopping
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.extras.judge.judgement import Judgement


def bundle_(arguments: argparse.Namespace) -> int:
    """``bench bundle`` and ``bench bundle verify``: one file to pass on."""
    first, *more = arguments.what
    if first == Path("verify"):
        return _bundle_verify(arguments, more)
    from bench.extras.bundle.making import bundle, name_of, put
    from bench.protocol.named import find
    from bench.store import Store

    if arguments.json:
        raise BenchError("--json: only 'bench bundle verify FILE' has this flag; leave it out")
    bundled = bundle(
        [find(path) for path in arguments.what],
        Store.open(arguments.out, create=False),
        arguments.data,
    )
    for line in bundled.notes:
        print(f"bench: {line}", file=sys.stderr)
    print(put(bundled, arguments.to or Path(name_of(bundled))))
    return 0


def _bundle_verify(arguments: argparse.Namespace, files: list[Path]) -> int:
    from bench.extras.bundle.verifying import as_text, verify

    if len(files) != 1 or arguments.to or arguments.data:
        raise BenchError("bundle verify: takes one FILE, and no flag but --json")
    verified = verify(files[0])
    value = {**asdict(verified), "file": str(verified.file)}
    print(json.dumps(value, indent=1) if arguments.json else as_text(verified))
    return 1 if verified.findings else 0


def cancel_(arguments: argparse.Namespace) -> int:
    """``bench cancel``: take a run's tasks out of SLURM's queue."""
    from bench.executors.slurm import cancel
    from bench.store import Store

    count = cancel(Store.open(arguments.out, create=False))
    print(f"{count} tasks cancelled" if count else "nothing in the queue")
    return 0


def check_(arguments: argparse.Namespace) -> int:
    """``bench check``: open every case of a data set and list what is wrong."""
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


def cluster_(arguments: argparse.Namespace) -> int:
    """``bench cluster check``: try a profile on its cluster."""
    from bench.executors.slurm import check, squeue
    from bench.executors.slurm.profile import profile
    from bench.store import Store

    if not arguments.wait > 0:
        raise BenchError(f"--wait {arguments.wait}: give seconds above 0")
    stated = profile(arguments.name)
    squeue.require()  # before a folder is made
    store = Store.open(arguments.out)
    checks = []
    with stopping(saves=False):
        for finding in check.check(stated, store.root, arguments.wait):
            checks.append(finding)
            if not arguments.json:
                print(
                    f"{'ok ' if finding.ok else 'NO '} {finding.check}: {finding.detail}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps([asdict(f) for f in checks], indent=1))
    return 0 if all(f.ok for f in checks) else 1


def compare_(arguments: argparse.Namespace) -> int:
    """``bench compare``: two folders or bundles, cell by cell, or by how their probes and fine-tunings rank methods."""
    from bench.extras.bundle.opening import as_folder
    from bench.extras.compare.comparison import as_json, as_text, compare, sides

    if arguments.ranks:
        return _ranks(arguments)
    if arguments.to is not None:
        raise BenchError(
            f"--to {arguments.to}: works only with --ranks; add --ranks, or leave --to out"
        )
    with as_folder(arguments.a) as a, as_folder(arguments.b) as b:
        comparison = compare(*sides((arguments.a, a), (arguments.b, b), arguments.protocol))
    print(json.dumps(as_json(comparison), indent=1) if arguments.json else as_text(comparison))
    return 1 if comparison.beyond else 0


def _ranks(arguments: argparse.Namespace) -> int:
    """Draw the page of ranks by probe and by fine-tuning, and print which rows pair."""
    from bench.extras.bundle.opening import as_folder
    from bench.extras.compare.comparison import every_side
    from bench.extras.compare.ranks import ranked
    from bench.extras.compare.ranks_page import as_text, write
    from bench.store import refuse_file

    if arguments.to is None:
        raise BenchError("--ranks: writes a page; name its folder with --to DIR")
    refuse_file(arguments.to)
    if arguments.json or arguments.protocol is not None:
        raise BenchError(
            "--ranks: does not work with --json or --protocol; in place of --protocol, name the file "
            "records/<name>.parquet of that protocol; in place of --json, read table.csv in the folder of --to"
        )
    with as_folder(arguments.a) as a, as_folder(arguments.b) as b:
        ranks = ranked(every_side((arguments.a, a), (arguments.b, b)))
        page = write(ranks, arguments.to)
    print(f"{as_text(ranks)}\npage: {page}")
    return 0


def completion_(arguments: argparse.Namespace) -> int:
    """``bench completion``: a shell's script."""
    from bench.extras.completion import SCRIPTS

    print(SCRIPTS[arguments.shell], end="")
    return 0


def embed_(arguments: argparse.Namespace) -> int:
    """``bench embed``: features of a frozen encoder, one file a case."""
    from bench.data.roots import Roots
    from bench.extras.embeddings import MANIFEST, Embedding, embed
    from bench.store import Store

    request = Embedding(
        arguments.dataset,
        arguments.init,
        arguments.network,
        arguments.voxels,
        flags.whole_numbers("--levels", arguments.levels),
        arguments.recipe,
        _crop(arguments.crop),
    )

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    with stopping(saves=False):
        roots, store = Roots.here(arguments.data), Store.open(arguments.out)
        written = embed(request, roots, store, arguments.to, arguments.workers, tell)
    print(f"{arguments.to}: {written} files written, what they are stands in {MANIFEST}")
    return 0


def _crop(text: str | None) -> tuple[int, int, int] | None:
    sides = flags.whole_numbers("--crop", text)
    if sides is None:
        return None
    if len(sides) != 3:
        raise BenchError(f"--crop {text}: give three sides, x,y,z, in voxels")
    return sides


def export_(arguments: argparse.Namespace) -> int:
    """``bench export``: a job's weights for elsewhere."""
    from bench.export import export
    from bench.store import Store

    store = Store.open(arguments.out, create=False)
    given = arguments.job, arguments.to, arguments.format, flags.only(arguments), arguments.plans
    print(export(store, *given))
    return 0


def init_(arguments: argparse.Namespace) -> int:
    """``bench init``: a first protocol over a folder of one's own."""
    from bench.extras.init import Stated, init, label_names
    from bench.show.screen import bar

    def ask(question: str, default: str) -> str:
        if not sys.stdin.isatty():
            return default
        try:
            return input(f"{question} [{default}]: ").strip() or default
        except EOFError:
            return default

    stated = Stated(
        label_names(arguments.labels),
        arguments.channels,
        tuple(arguments.image),
        tuple(arguments.label),
        arguments.links,
        arguments.patients or "",
        arguments.network,
    )
    with bar(f"checking {arguments.folder}") as progress:
        lines = init(arguments.folder, arguments.to, stated, ask, arguments.workers, progress)
    print("\n".join(lines))
    return 0


def judge_(arguments: argparse.Namespace) -> int:
    """``bench judge``: scores of any tool, what may be said of them; 1 where a requirement does not hold."""
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
    options = {
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
        **options,
        **{role: given[role] for role in ROLES if role in given},
    )


def list_(arguments: argparse.Namespace) -> int:
    """``bench list``: what is registered."""
    from bench.show import listing

    if arguments.name is not None:
        if arguments.what != "datasets":
            raise BenchError(
                f"list {arguments.what} {arguments.name}: takes no NAME; only 'list datasets' does"
            )
        dataset = listing.one_dataset(arguments.name, arguments.data)
        print(json.dumps(dataset, indent=1) if arguments.json else listing.dataset_as_text(dataset))
        return 0
    if arguments.data is not None:
        raise BenchError(
            f"--data {arguments.data}: only 'bench list datasets NAME' has this flag; leave it out"
        )
    things, broken = listing.listed(arguments.what)
    # a file or another program gets one whole line for each thing
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    text = listing.as_text(arguments.what, things, width)
    print(json.dumps(things, indent=1) if arguments.json else text)
    for line in broken:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if broken else 0


def new_(arguments: argparse.Namespace) -> int:
    """``bench new``: a method, data set or network to begin with."""
    from bench.extras.new import new

    print("\n".join(new(arguments.kind, arguments.name, arguments.to, int(arguments.dims))))
    return 0


def phantom_(arguments: argparse.Namespace) -> int:
    """``bench phantom``: synthetic cases in a data set's official layout."""
    from bench import registry
    from bench.phantoms import synthetic

    dataset = registry.load("dataset", arguments.dataset)
    if arguments.cases < 1:
        raise BenchError(f"--cases {arguments.cases}: needs at least 1")
    folder = arguments.directory / arguments.dataset
    if folder.exists() and any(folder.iterdir()):
        raise BenchError(f"{folder}: is not empty; name another DIR")
    synthetic.write(dataset, folder, arguments.cases, arguments.seed)
    print(f"{folder}: {arguments.cases} synthetic cases of {arguments.dataset}")
    return 0


def status_(arguments: argparse.Namespace) -> int:
    """``bench status``: how far an output folder is."""
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
        tell(as_text(by_state, flags.as_typed(arguments.out)))
    return 0


def verify_(arguments: argparse.Namespace) -> int:
    """``bench verify``: compare an output folder with its digests."""
    from bench.store import Store
    from bench.verify import as_text, verify

    verified = verify(Store.open(arguments.out, create=False))
    print(as_text(verified))
    return 1 if verified.findings else 0
