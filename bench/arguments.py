"""The words of the command line: commands and their flags, as the public contract lists them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from bench.examples import told


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command; ``command`` of what it parsed is the command's name."""
    made = argparse.ArgumentParser(
        prog="bench", description="Compare self-supervised pretraining methods for medical images."
    )
    made.add_argument(
        "-V", "--version", action=_Version, nargs=0, help="of bench, and of what it runs on"
    )
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    _run_parsers(commands)
    _report_parsers(commands)
    _data_parsers(commands)
    _score_parser(commands)
    _export_parser(commands)
    _cluster_parsers(commands)
    _new_parser(commands)
    return made


def _path(text: str) -> Path:
    """An empty text is a shell's variable that is not set, and no folder: this one would be filled."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; is a variable of the shell not set?")
    return Path(text)


class _Version(argparse.Action):
    """Prints versions and the commit, and leaves."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from bench.runtime.provenance import versions

        print(versions())  # noqa: T201 - as argparse's own action does
        parser.exit()


class _Help(argparse.HelpFormatter):
    """Wraps paragraphs, and keeps the lines of one that ends in indented lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        import textwrap  # as argparse does: only help needs it

        parts = (p if "\n  " in p else textwrap.fill(p, width) for p in text.split("\n\n"))
        return textwrap.indent("\n\n".join(parts), indent)


def _command(commands: Any, name: str, text: str, more: str = "") -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        formatter_class=_Help,
        epilog="\n\n".join(filter(None, (more, told(name)))),
    )
    made.set_defaults(command=name)
    return made


def _protocol_flags(parser: argparse.ArgumentParser, scale: str) -> None:
    parser.add_argument(
        "protocols",
        nargs="+",
        type=_path,
        metavar="PROTOCOL",
        help="a file, or a name of 'bench list protocols'",
    )
    parser.add_argument("--scale", choices=("paper", "pilot", "smoke"), help=f"default: {scale}")
    _out_flag(parser)


def _data_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=_path, metavar="DIR", help="one folder per data set (or BENCH_DATA)"
    )


def _out_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=_path, default=Path("runs"), metavar="DIR", help="default: runs"
    )


def _plugins_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plugins",
        type=_path,
        action="append",
        default=[],
        metavar="PATH",
        help="a file or folder of plugins from outside; may be repeated",
    )


def _place_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--executor", choices=("local", "slurm"), default="local")
    parser.add_argument("--cluster", metavar="NAME", help="a profile of bench.toml")
    parser.add_argument("--workers", type=int, metavar="N", help="processes here; default: cores")


def _watch_flags(parser: argparse.ArgumentParser) -> None:
    """Add how a run shows itself. ``--plain`` is another thing: a report's table as papers print it."""
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="only warnings, what failed, and where the table is",
    )
    shown.add_argument(
        "--lines", action="store_true", help="no bars and no colours: lines, as a file gets them"
    )
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=("tensorboard", "mlflow", "wandb"),
        help="curves, settings, scores and tables go there too; may be repeated",
    )


def _keep_flag(parser: argparse.ArgumentParser) -> None:
    text = "go on with trainings that another version of the code began"
    parser.add_argument("--keep-unfinished", action="store_true", help=text)


def _run_parsers(commands: Any) -> None:
    run = _command(commands, "run", "run protocols and draw their tables")
    plan = _command(commands, "plan", "print the jobs, what is done and what the rest costs")
    for parser in (run, plan):
        _protocol_flags(parser, "the protocol's")
        _data_flag(parser)
        parser.add_argument(
            "--phantoms",
            action="store_true",
            help="synthetic cases in the place of all data, in OUT/phantoms",
        )
        _place_flags(parser)
        many: dict[str, Any] = {"action": "append", "default": [], "metavar": "KEY=VALUE"}
        only = "method, network, dataset, fraction, seed or row; may be repeated"
        parser.add_argument("--only", **many, help=only)
        setting = "a key of the protocol, e.g. finetune.optimiser.lr=1e-3; may be repeated"
        parser.add_argument("--set", **many, dest="sets", help=setting)
        parser.add_argument(
            "--records",
            type=_path,
            action="append",
            default=[],
            metavar="DIR",
            help="an output folder or a bundle: cells that it has scored are taken from "
            "there, not run; may be repeated",
        )
        parser.add_argument(
            "--redo",
            choices=("changed",),
            help="rerun jobs made by an older version of the code, and everything "
            "that depends on them",
        )
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    _keep_flag(run)
    _watch_flags(run)
    plan.add_argument("--json", action="store_true")
    plan.add_argument(
        "--detect",
        type=float,
        metavar="POINTS",
        help="what the protocol could see as written, and what a difference of so many points "
        "needs: runs, test patients, hours",
    )
    _compete_parser(commands)


def _compete_parser(commands: Any) -> None:
    more = (
        "Only the method's own cells are run; the others' scores are taken patient by patient from the "
        "records. Refused where these are of another split, scale, recipe or convention."
    )
    compete = _command(
        commands, "compete", "run one more method beside a protocol's recorded rows", more
    )
    known = "a protocol with records: a file, or a name of 'bench list protocols'"
    compete.add_argument("track", type=_path, metavar="TRACK", help=known)
    compete.add_argument("--method", required=True, metavar="NAME")
    _plugins_flag(compete)
    compete.add_argument(
        "--records",
        type=_path,
        metavar="DIR",
        help="an output folder or a bundle; default: those tracked in results/",
    )
    compete.add_argument("--network", metavar="NAME", help="of the track; default: its first row's")
    compete.add_argument(
        "--params",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of the method; may be repeated",
    )
    own = "of its pretraining, in place of the track's: crop=[24,32,24], steps=2000, optimiser.lr=1e-4"
    compete.add_argument("--pretrain", action="append", default=[], metavar="KEY=VALUE", help=own)
    _out_flag(compete)
    _data_flag(compete)
    _place_flags(compete)
    compete.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    _keep_flag(compete)
    _watch_flags(compete)


def _report_parsers(commands: Any) -> None:
    status = _command(commands, "status", "what is running, done and failed")
    _out_flag(status)
    status.add_argument("--json", action="store_true")
    status.add_argument(
        "--prune",
        action="store_true",
        help="remove the work folders of jobs that no protocol wants any more",
    )
    verify = _command(commands, "verify", "read every published file against its digest")
    _out_flag(verify)
    report = _command(commands, "report", "draw tables, figures and page from the records")
    _protocol_flags(report, "the records'")
    report.add_argument(
        "--to", type=_path, metavar="DIR", help="default: OUT/reports/<name>; of a bundle none"
    )
    report.add_argument(
        "--plain", action="store_true", help="as papers print: no verdicts, intervals or ranks"
    )
    report.add_argument(
        "--serve",
        action="store_true",
        help="show them to a browser here, drawn again while a run goes on",
    )
    report.add_argument(
        "--port", type=int, metavar="N", help="of --serve; default: 8321, any free one: 0"
    )
    _bundle_parser(commands)
    _compare_parser(commands)


def _bundle_parser(commands: Any) -> None:
    more = (
        "'bench report FILE --to DIR' draws its tables again, without data or a GPU; 'bench bundle verify "
        "FILE' looks at every digest, and whether the tables come out as they are in it. It holds no image."
    )
    text = "put protocols, records and splits into one file to pass on"
    bundle = _command(commands, "bundle", text, more)
    bundle.usage = (
        "bench bundle PROTOCOL... [--out DIR] [--data DIR] [--to FILE]\n"
        "       bench bundle verify FILE [--json]"
    )
    bundle.add_argument(
        "what",
        nargs="+",
        type=_path,
        metavar="PROTOCOL",
        help="a file, or a name of 'bench list protocols'; or: verify FILE",
    )
    _out_flag(bundle)
    bundle.add_argument(
        "--data",
        type=_path,
        metavar="DIR",
        help="to list the patients of splits by rule (or BENCH_DATA)",
    )
    bundle.add_argument(
        "--to",
        type=_path,
        metavar="FILE",
        help="default: <name>.bench.zip here; of several bundle.bench.zip",
    )
    bundle.add_argument("--json", action="store_true", help="what verify finds")


def _compare_parser(commands: Any) -> None:
    compare = _command(
        commands,
        "compare",
        "which cells moved beyond noise between two runs of a protocol",
        "Exit code 1: something moved beyond noise.",
    )
    where = "an output folder, a bundle, or records/<name>.parquet"
    compare.add_argument("a", type=_path, metavar="A", help=where)
    compare.add_argument("b", type=_path, metavar="B", help="what is compared with it, likewise")
    compare.add_argument("--protocol", metavar="NAME", help="where both hold several")
    compare.add_argument("--json", action="store_true")


def _data_parsers(commands: Any) -> None:
    listing = _command(commands, "list", "what there is by name")
    listing.add_argument(
        "what", choices=("methods", "datasets", "mixtures", "networks", "metrics", "protocols")
    )
    listing.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="of a data set: its recipes, splits, and how large they are here",
    )
    _data_flag(listing)
    _plugins_flag(listing)
    listing.add_argument("--json", action="store_true")
    check = _command(commands, "check", "open and judge every case of a data set")
    check.add_argument("dataset")
    _data_flag(check)
    _plugins_flag(check)
    check.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    check.add_argument(
        "--to",
        type=_path,
        metavar="FILE",
        help="also a page: what there is, a slice of each case with its label",
    )
    check.add_argument("--json", action="store_true")
    phantom = _command(commands, "phantom", "write synthetic cases in a data set's layout")
    phantom.add_argument("dataset")
    phantom.add_argument("directory", type=_path, metavar="DIR", help="the scans go to DIR/DATASET")
    phantom.add_argument("--cases", type=int, default=10, metavar="N")
    phantom.add_argument("--seed", type=int, default=0, metavar="S")
    _plugins_flag(phantom)


def _score_parser(commands: Any) -> None:
    score = _command(commands, "score", "score label maps that nobody trained here")
    score.add_argument(
        "--prediction",
        type=_path,
        required=True,
        metavar="P",
        action="append",
        help="a volume, a picture or a folder; repeat it to rank several",
    )
    same = "the same; files of two folders are paired by name without suffix"
    score.add_argument("--reference", type=_path, required=True, metavar="R", help=same)
    score.add_argument(
        "--metrics",
        default="dice,iou,hd,hd95",
        metavar="NAMES",
        help="comma-separated names of 'bench list metrics', or all",
    )
    score.add_argument(
        "--labels", metavar="VALUES", help="comma-separated; default: every label there is"
    )
    regions = "in place of labels: the regions of a data set, e.g. brats"
    score.add_argument("--regions", metavar="NAME", help=regions)
    void = "of voxels of the reference that nobody labelled; they count nowhere"
    score.add_argument("--ignore", metavar="VALUE", help=void)
    score.add_argument(
        "--convention",
        choices=("medpy", "monai", "deepmind"),
        help="default: medpy; of several predictions all three",
    )
    score.add_argument("--empty", choices=("default", "brats", "skip"), default="default")
    score.add_argument("--verify", action="store_true", help="recompute with medpy and compare")
    score.add_argument(
        "--ignore-geometry",
        action="store_true",
        help="compare voxels as stored: no axis is turned, no place compared",
    )
    score.add_argument("--json", action="store_true")


def _export_parser(commands: Any) -> None:
    export = _command(commands, "export", "write what a finished job made to a file")
    export.add_argument(
        "job",
        metavar="JOB",
        help="its id, or the beginning of one; ID@STEP is a snapshot, ID@last the last "
        "weights of a fine-tuning whose table scores others",
    )
    export.add_argument("--to", type=_path, required=True, metavar="FILE")
    export.add_argument(
        "--format",
        choices=("safetensors", "nnssl", "submission"),
        default="safetensors",
        help="nnssl: for nnU-Net; submission: a server's files",
    )
    _out_flag(export)


def _cluster_parsers(commands: Any) -> None:
    cancel = _command(commands, "cancel", "take back what an output folder has in SLURM's queue")
    _out_flag(cancel)
    cluster = _command(commands, "cluster", "try out a cluster profile of bench.toml")
    cluster.add_argument("what", choices=("check",))
    cluster.add_argument(
        "name", nargs="?", metavar="NAME", help="default: the cluster's own defaults"
    )
    _out_flag(cluster)
    cluster.add_argument(
        "--wait",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="for a task to start, default: 300",
    )
    cluster.add_argument("--json", action="store_true")


def _new_parser(commands: Any) -> None:
    new = _command(commands, "new", "begin a method, data set, network or protocol of your own")
    new.add_argument("kind", choices=("method", "dataset", "network", "protocol"))
    new.add_argument("name", metavar="NAME", help="a Python name that nothing here has")
    new.add_argument("--to", type=_path, default=Path(), metavar="DIR", help="default: this folder")
    init = _command(
        commands,
        "init",
        "write a first protocol over a folder of your own scans",
        "DIR holds imagesTr and labelsTr, as the Decathlon and nnU-Net keep them. Where it "
        "lacks dataset.json one is written: what --labels and --channels do not name is "
        "asked on a terminal, and called label_1, ... elsewhere.",
    )
    init.add_argument("folder", type=_path, metavar="DIR")
    init.add_argument(
        "--to", type=_path, metavar="FILE", help="default: DIR's name and .yaml, here"
    )
    init.add_argument("--labels", default="", metavar="NAMES", help="e.g. 1=liver,2=tumour")
    init.add_argument("--channels", default="", metavar="NAMES", help="e.g. CT, or T1,FLAIR")
    init.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    shell = _command(commands, "completion", "print what makes a shell complete bench's words")
    shell.add_argument("shell", choices=("bash", "zsh", "fish"))
