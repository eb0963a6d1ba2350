"""The words of the command line: every command, its flags and examples, as the public contract has them."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

# A command is a block of COMMANDS: its name and what it does, then a line for each flag, `> ` more help, and
# `$ ` two examples. A flag has its name, and two spaces before what its help says:
#     --quiet/-q         a switch, with another name       --out DIR (runs)    a value, and its default
#     --scale paper|smoke  one of these                    --only KEY=VALUE...  may be repeated: a list
#     --method NAME!     a flag that must be given         [name NAME]  an argument that may be left out
#     directory DIR      an argument: its name in code, and in the help; with `...` at least one
# `| ` before a line: at most one of such flags is given. `-> ` after a name: what the code calls the flag.
OUT = "--out DIR (runs)  default: runs"
DATA = "--data DIR  one folder per data set (or BENCH_DATA)"
PROTOCOLS = "protocols PROTOCOL...  a file, or a name of 'bench list protocols'"
PLUGINS = "--plugins PATH...  a file or folder of plugins from outside; may be repeated"
CORES = f"--workers N ({os.cpu_count() or 1})"
NETWORKS = """amaes_unet|genesis_unet3d|genesis_unet3d_light|pgl_resnet50|plain_unet|primus|resenc_unet|segresnet|\
segresnet_ds|spectre_vit|stunet|stunet_released|suprem_swin_unetr|suprem_unet|swin_unetr|taleb_unet3d|unet3d|\
unetr"""  # which `bench init` takes
WHERE = """\
--executor local|slurm (local)
--cluster NAME  a profile of bench.toml
--workers/--jobs N  jobs at once here; default: cores"""
RUN = """\
--dry-run  print the plan and stop
--keep-unfinished  go on with trainings that another version of the code began
| --quiet/-q  only warnings, what failed, and where the table is
| --lines  no bars and no colours: lines, as a file gets them
--log tensorboard|mlflow|wandb...  curves, settings, scores and tables go there too; may be repeated"""
PLAN = f"""\
{PROTOCOLS}
--scale paper|pilot|smoke  default: the protocol's
{OUT}
{DATA}
--phantoms  synthetic cases in the place of all data, in OUT/phantoms
{WHERE}
{PLUGINS}
--only KEY=VALUE...  method, network, dataset, fraction, fold, seed or row; may be repeated
--set -> sets KEY=VALUE...  a key of the protocol, e.g. finetune.optimiser.lr=1e-3; may be repeated
--records DIR...  an output folder or a bundle: cells that it has scored are taken from there, not run; \
may be repeated
--redo changed|  rerun jobs made by an older version of the code, and everything that depends on them"""
COMMANDS = f"""
run  run protocols and draw their tables
{PLAN}
{RUN}
$ bench run quickstart  # synthetic scans, three minutes
$ bench run pilot_lasc --data DATA --only method=voco --log tensorboard  # one method, with curves

plan  print the jobs, what is done and what the rest costs
{PLAN}
--json
--detect POINTS  what the protocol could see as written, and what a difference of so many points needs: \
runs, test patients, hours
--gpu CARD  what each training takes of a card and whether it fits: h100-80gb, h100-80gbx4, or its memory, \
24gb; default: the card of the cluster profile
$ bench plan pilot_lasc --data DATA  # what there is to do, and what it will cost
$ bench plan voco_table1 --scale smoke --phantoms  # without any data

compete  train one more method and compare it with a protocol's stored results
track TRACK  a protocol with records: a file, or a name of 'bench list protocols'
--method NAME!
{PLUGINS}
--records DIR  an output folder or a bundle; default: those tracked in results/
--network NAME  of the track; default: its first row's
--params KEY=VALUE...  a parameter of the method; may be repeated
--pretrain KEY=VALUE...  of its pretraining, in place of the track's: crop=[24,32,24], steps=2000, \
optimiser.lr=1e-4
{OUT}
{DATA}
{WHERE}
{RUN}
> Only the new method is trained. The stored results have a score for each patient, so all comparisons are \
paired. Refused if they have another split, scale, recipe or convention.
$ bench compete pilot_lasc --method mine --plugins mine.py --data DATA  # among those recorded
$ bench compete pilot_lasc --method mine --plugins mine.py --data DATA --dry-run

status  what is running, done and failed
{OUT}
--json
--prune  remove the work folders of jobs that no protocol wants any more
$ bench status  # of the folder runs
$ bench status --out DIR --prune  # and remove what no protocol wants any more

verify  read every published file against its digest
{OUT}
$ bench verify  # every file of the folder runs
$ bench verify --out DIR

report  draw tables, figures and page from the records
{PROTOCOLS}
{PLUGINS}
--scale paper|pilot|smoke  default: the records'
{OUT}
--to DIR  default: OUT/reports/<name>; of a bundle none
--plain  as papers print: no verdicts, intervals or ranks
--paper DIR  no page; for a paper, a LaTeX file for each table and sentences.txt
--table -> tables NAME...  of --paper: only this table (a file's name without .tex); may be repeated
--serve  show them to a browser here, drawn again while a run goes on
--port N  of --serve; default: 8321, any free one: 0
$ bench report pilot_lasc  # draw it again from the records
$ bench report pilot_lasc --paper DIR  # tables and sentences for a paper

bundle  save protocols, stored results and splits in one file, to share it
usage: bench bundle PROTOCOL... [--out DIR] [--data DIR] [--to FILE]
usage: bench bundle verify FILE [--json]
what PROTOCOL...  a file, or a name of 'bench list protocols'; or: verify FILE
{OUT}
--data DIR  to list the patients of splits by rule (or BENCH_DATA)
--to FILE  default: <name>.bench.zip here; of several bundle.bench.zip
--json  what verify finds
> 'bench report FILE --to DIR' draws its tables again, without data or a GPU; 'bench bundle verify FILE' \
looks at every digest, and whether the tables come out as they are in it. It holds no image.
$ bench bundle pilot_lasc --to lasc.bench.zip
$ bench bundle verify lasc.bench.zip

compare  which cells moved beyond noise between two runs of a protocol
a A  an output folder, a bundle, or records/<name>.parquet
b B  what is compared with it, likewise
--protocol NAME  where both hold several
--json
--ranks  methods by probe against methods fine-tuned, of all protocols that A and B hold
--to DIR  of --ranks: the page, its tables and figure
> Exit code 1: something moved beyond noise.
$ bench compare runs runs_of_last_month  # two output folders
$ bench compare runs/records/studies_probes_3d.parquet results/pilot --ranks --to ranks  # probe, fine-tuned

judge  which methods differ, in any table of scores
tables TABLE...  CSV, Parquet, JSON lines, nnU-Net's summary.json, results of mteb or kaiko eva, or a folder
--baseline NAME  the method that all others are compared with
--method COLUMN
--case COLUMN  the scan or image: methods are compared on the same ones
--score COLUMN
--run COLUMN  the independent training, usually its seed
--patient COLUMN  for data with several cases of a patient
--patients PATTERN  a regular expression whose group is a case's patient, or a CSV or JSON file of both
--dataset COLUMN
--target COLUMN  organ or label
--metric COLUMN
--fold COLUMN
--pretraining COLUMN  the pretraining of each run; its runs are not independent
--wide methods|targets|metrics|cases  what the columns of numbers are, in a wide table
--only KEY=VALUE...  of a column, or of method, dataset, target, metric; may be repeated
--without COLUMN...  a column that is ignored; may be repeated
| --higher  higher scores are better; for a metric that bench does not know
| --lower  lower scores are better
--unit 1|%  of Dice and the like: 0 to 1, or percent; not checked
--infinite NUMBER  the value of an infinite distance; 'missing' leaves it out
--region SIZE  the equivalence margin, in the unit of the file; default: 0.01 of Dice and the like
--require SENTENCE...  'A better than B' (worse than, equivalent to), on every data set by the first metric; \
may be repeated
--to DIR  also a page, Markdown, LaTeX, CSV
--json
> Columns are recognised by their names. The first table says how each was read; '-' means no column. \
Exit code 1: a requirement does not hold.
$ bench judge scores.csv --baseline nnunet --to judged  # columns case, method, dice
$ bench judge nnUNet_results/Dataset004_Hippocampus  # all trainers of a cross-validation

list  what there is by name
what methods|datasets|mixtures|networks|weights|metrics|protocols
[name NAME]  of a data set: its recipes, splits, and how large they are here
{DATA}
{PLUGINS}
--json
$ bench list methods
$ bench list datasets --json  # for a program
$ bench list weights  # public ones that a row can start from

check  open and judge every case of a data set
dataset
{DATA}
{PLUGINS}
{CORES}
--to FILE  also a page: what there is, a slice of each case with its label
--json
$ bench check lasc --data DATA  # of DATA/lasc: what there is, and what is wrong
$ bench check DATA/my_scans --to check.html  # any folder in MSD layout, drawn

phantom  write synthetic cases in a data set's layout
dataset
directory DIR  the scans go to DIR/DATASET
--cases N (10)
--seed S (0)
{PLUGINS}
$ bench phantom btcv DATA  # ten scans in DATA/btcv
$ bench phantom acdc DATA --cases 4 --seed 1

score  score label maps that nobody trained here
--prediction P...!  a volume, a picture or a folder; repeat it to rank several
--reference R!  the same; files of two folders are paired by name without suffix
--metrics NAMES (dice,iou,hd,hd95)  comma-separated names of 'bench list metrics', all, or lesions
--labels VALUES  comma-separated; default: every label there is
--regions NAME  in place of labels: the regions of a data set, e.g. brats
--ignore VALUE  of voxels of the reference that nobody labelled; they count nowhere
--convention medpy|monai|deepmind  default: medpy; of several predictions all three
--empty default|brats|skip (default)
--verify  recompute with medpy and compare
--ignore-geometry  compare voxels as stored: no axis is turned, no place compared
--json
$ bench score --prediction mine.nii.gz --reference truth.nii.gz
$ bench score --prediction a/ --prediction b/ --reference truth/ --metrics dice,nsd@1mm  # ranked

embed  write what a frozen encoder makes of each case to files
dataset DATASET
--init WEIGHTS!  a file, a job of OUT (as 'bench export' names it), or 'random'
--network NAME!  of 'bench list networks'; NAME/PRESET picks a preset, default: that of the weights
--to DIR!  <case>.npy a case, and manifest.json; a stopped one goes on
--voxels  a map of each voxel's features, <case>.b2nd, in place of a vector
--levels LEVELS  comma-separated maps of the encoder, 0 is the finest; default: all
--recipe NAME (default)  how scans are prepared, of the data set's recipes
--crop X,Y,Z  of windows, in voxels; default: the preset's
{DATA}
{OUT}
{CORES}
$ bench embed msd04_hippocampus --init weights.safetensors --network unet3d --to embeddings --data DATA
$ bench embed msd04_hippocampus --init 3f2a --network unet3d/tiny --voxels --to maps --data DATA

export  write what a finished job made to a file
job ROW  a row's name (its pretraining; without one its fine-tuning), or a job's id or the beginning of one; \
@STEP after it is a snapshot, @last the last weights of a fine-tuning whose table scores others
--to FILE!
--format safetensors|nnunet|nnssl|submission (safetensors)  nnunet: a checkpoint for nnU-Net, which nnssl \
reads too (the same file), and its network for the plans in FILE's name with .json; submission: a server's \
files, of a job
--only KEY=VALUE...  of a row with several jobs: seed, pretrain_seed, fold, fraction, dataset, protocol, \
scale, or kind (pretrain, finetune); may be repeated
{OUT}
$ bench export simclr3d --to weights.safetensors --only seed=0  # the row's pretraining, of seed 0
$ bench export 3f2a --to checkpoint.pth --format nnunet  # of the job whose id begins so, for nnU-Net

cancel  take back what an output folder has in SLURM's queue
{OUT}
$ bench cancel  # what the folder runs has in the queue
$ bench cancel --out DIR

cluster  try out a cluster profile of bench.toml
what check|
[name NAME]  default: the cluster's own defaults
{OUT}
--wait SECONDS (300)  for a task to start, default: 300
--json
$ bench cluster check  # with the cluster's own defaults
$ bench cluster check gpu --wait 600  # the profile [cluster.gpu] of bench.toml

new  begin a method, data set, network or protocol of your own
kind method|dataset|network|protocol
name NAME  a Python name that nothing here has
--to DIR (.)  default: this folder
$ bench new method my_method --to mine  # mine/my_method.py, its test and a protocol
$ bench new dataset my_scans  # in this folder

init  write a first protocol over a folder of your own scans
folder DIR
--to FILE  default: DIR's name and .yaml, here
--labels NAMES ()  e.g. 1=liver,2=tumour
--channels NAMES ()  e.g. CT, or T1,FLAIR
--image PATTERN...  of scans in another layout: '*/T1.nii.gz'; once for each channel
--label PATTERN  of their label maps, with the same wildcards: '*/mask.nii.gz'
--links DIR  links to these in MSD layout; default: DIR_msd
--patients PATTERN  a regular expression whose group is a case's patient, where one has several
--network {NETWORKS} (genesis_unet3d)  only resenc_unet exports to \
nnU-Net; default: genesis_unet3d
{CORES}
> DIR holds imagesTr and labelsTr, as the Decathlon and nnU-Net keep them; else --image and --label say where \
the files are, and a new folder links to them. Where it lacks dataset.json one \
is written: what --labels and --channels do not name is asked on a terminal, and called label_1, ... elsewhere.
$ bench init DATA/my_scans  # writes my_scans.yaml
$ bench init SCANS --image '*/T1.nii.gz' --label '*/mask.nii.gz' --labels 1=tumour  # another layout, asks less

completion  print what makes a shell complete bench's words
shell bash|zsh|fish
$ source <(bench completion bash)  # now; to keep it, put the line into ~/.bashrc (zsh: ~/.zshrc)
$ bench completion fish > ~/.config/fish/completions/bench.fish
"""
SPELLED = re.compile(
    r"(?P<alone>\| )?(?P<optional>\[)?(?P<name>[\w-]+)(?:/(?P<other>--?[\w-]+))?(?: -> (?P<dest>\w+))?"
    r"(?: (?P<value>[^\s.!\]]+))?(?P<many>\.\.\.)?(?P<required>!)?\]?(?: \((?P<default>.*?)\))?(?:  (?P<help>.*))?"
)


def _path(text: str) -> Path:
    """An empty text is a shell's variable that is not set, and no folder: this one would be filled."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; is a variable of the shell not set?")
    return Path(text)


TYPES: dict[str, Any] = {  # of values that the help calls so; all else is text
    **dict.fromkeys(
        ("DIR", "FILE", "PATH", "PROTOCOL", "TRACK", "A", "B", "P", "R", "TABLE"), _path
    ),
    **{"N": int, "S": int, "POINTS": float, "SIZE": float, "SECONDS": float},
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command; ``command`` of what it parsed is the command's name."""
    about = "Compare self-supervised pretraining methods for medical images."
    bench = _Parser(prog="bench", description=about)
    versions = "of bench, and of what it runs on"
    bench.add_argument("-V", "--version", action=_Version, nargs=0, help=versions)
    commands = bench.add_subparsers(metavar="COMMAND", required=True)
    for name, lines in blocks().items():
        more = [line[2:] for line in lines if line.startswith("> ")]
        examples = ["  " + e.replace("  # ", "\n      ") for e in lines if e.startswith("$ ")]
        usage = [line.removeprefix("usage: ") for line in lines if line.startswith("usage: ")]
        parser = commands.add_parser(
            name,
            help=lines[0],
            description=lines[0],
            usage="\n       ".join(usage) or None,
            formatter_class=_Help,
            epilog="\n\n".join([*more, "\n".join(["examples:", *examples]).replace("$ ", "")]),
        )
        parser.set_defaults(command=name)
        groups = list[argparse._MutuallyExclusiveGroup]()
        for line in lines[1:]:
            if not line.startswith(("> ", "$ ", "usage: ")):
                names, options = _options(line)
                if line.startswith("| ") and not groups:  # an empty group has no help
                    groups.append(parser.add_mutually_exclusive_group())
                (groups[0] if line.startswith("| ") else parser).add_argument(*names, **options)
    return bench


def blocks() -> dict[str, list[str]]:
    """Return the lines of ``COMMANDS`` by command; the first is what it does."""
    parts = (block.split("\n") for block in COMMANDS.strip().split("\n\n"))
    return {
        name: [text, *lines] for head, *lines in parts for name, _, text in [head.partition("  ")]
    }


def _options(line: str) -> tuple[list[str], dict[str, Any]]:
    """Return what ``add_argument`` takes of the line of a flag or an argument: its names and options."""
    spelled = SPELLED.fullmatch(line)
    if spelled is None:
        raise ValueError(f"no flag is spelled so: {line}")
    part, flag = spelled.groupdict(), spelled["name"].startswith("-")
    value = part["value"]
    names = sorted(filter(None, (part["name"], part["other"])), key=lambda n: n.startswith("--"))
    options: dict[str, Any] = {"help": part["help"]}
    if flag and not value:
        return names, options | {"action": "store_true"}
    options["default"] = part["default"]
    for key, given in (("dest", part["dest"]), ("required", bool(part["required"]))):
        options |= {key: given} if given else {}
    if part["many"]:
        options |= {"action": "append", "default": []} if flag else {"nargs": "+"}
    elif part["optional"]:
        options["nargs"] = "?"
    if value and "|" in value:
        options["choices"] = tuple(filter(None, value.split("|")))
    elif value:
        options |= {"metavar": value, "type": TYPES.get(value)}
    return names, options


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, with the nearest word that there is."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return what was parsed; without a word print the commands."""
        words = sys.argv[1:] if args is None else list(args)
        is_command = self.get_default("command") is not None
        if not is_command and not words:
            print(_overview())  # noqa: T201 - as argparse's own help
            self.exit()
        if not is_command and words[0].startswith("-"):
            self._known([words[0]])
        parsed, left = super().parse_known_args(words, namespace)
        if is_command:
            self._known(left, words)
        return parsed, left

    def error(self, message: str) -> NoReturn:
        """Print one line, and leave as from a wrong request."""
        self.exit(2, f"{self.prog}: {message} ('{self.prog} --help' shows all)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            kind = action.metavar or action.dest
            name = "/".join(action.option_strings) or str(kind).lower()
            near = get_close_matches(str(value)[:80], [*map(str, action.choices)], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(action.choices)}"
            raise argparse.ArgumentError(None, f"{name}: no {str(value)[:80]!r}; {hint}")

    def _known(self, words: Sequence[str], given: Sequence[str] = ()) -> None:
        """Refuse the first flag that a command has not, else the first word too many."""
        flags = [word.partition("=")[0] for word in words if word.startswith("-")]
        options = [*self._option_string_actions]
        for flag in flags:
            if not any(option.startswith(flag) for option in options):
                near = get_close_matches(flag[:80], options, n=1)
                self.error(f"no flag {flag!r}" + (f"; did you mean {near[0]}?" if near else ""))
        if words and not flags:
            before = [word for word in given[: given.index(words[0])] if word.startswith("-")]
            action = self._option_string_actions.get(before[-1]) if before else None
            pattern = re.search(r"'\S*\*\S*'", action.help or "") if action else None
            quote = f"; quote the pattern: {before[-1]} {pattern[0]}" if pattern else ""
            self.error(f"{words[0]!r} is one word too many{quote}")


def _overview() -> str:
    """Return every command with a line."""
    width = max(map(len, blocks()))
    lines = [f"  {name:<{width}}  {text}" for name, (text, *_) in blocks().items()]
    head = "bench compares self-supervised pretraining methods for medical images.\n\n"
    begin = "begin:\n  bench run quickstart          synthetic scans, three minutes\n"
    begin += "  bench COMMAND --help          flags and two examples"
    return f"{head}{begin}\n\ncommands:\n" + "\n".join(lines)


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
