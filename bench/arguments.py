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
#     --scale paper|smoke  one of these                    --only KEY=VALUE...  may be repeated (help says so)
#     --method NAME!     a flag that must be given         [name NAME]  an argument that may be left out
#     directory DIR      an argument: its name in code, and in the help; with `...` at least one
# `| ` before a line: at most one of such flags is given. `-> ` after a name: what the code calls the flag.
OUT = "--out DIR (runs)  use DIR as the output folder; default: runs"
DATA = "--data DIR  find the data sets in DIR, one folder each; default: environment variable BENCH_DATA"
PROTOCOLS = "protocols PROTOCOL...  a protocol file, or a name that 'bench list protocols' prints"
PLUGINS = "--plugins PATH...  load your own plugins from this file or folder"
CORES = f"--workers N ({os.cpu_count() or 1})  read at most N cases at once; default: one per core"
JSON = "--json  print JSON instead of text"
NETWORKS = """amaes_unet|genesis_unet3d|genesis_unet3d_light|pgl_resnet50|plain_unet|primus|resenc_unet|segresnet|\
segresnet_ds|spectre_vit|stunet|stunet_released|suprem_swin_unetr|suprem_unet|swin_unetr|taleb_unet3d|unet3d|\
unetr"""  # which `bench init` takes
WHERE = """\
--executor local|slurm (local)  run the jobs on this machine or submit them to SLURM; default: local
--cluster NAME  with --executor slurm: use the profile [cluster.NAME] of bench.toml
--workers/--jobs N  run at most N jobs at once; default: one per GPU; without a GPU it depends on the cores"""
RUN = """\
--dry-run  print the plan and stop
--keep-unfinished  continue unfinished trainings even if another version of the code began them
| --quiet/-q  print only warnings, failures, and where the table is
| --lines  print plain lines as in a log file, without progress bars and colours
--log tensorboard|mlflow|wandb...  also send curves, settings, scores and tables to this tracker"""
PLAN = f"""\
{PROTOCOLS}
--scale paper|pilot|smoke  use this scale; default: the scale that the protocol sets
{OUT}
{DATA}
--phantoms  use synthetic cases, written to OUT/phantoms, instead of all data sets
{WHERE}
{PLUGINS}
--only KEY=VALUE...  run only the cells where KEY is VALUE; KEY is method, network, dataset, section, \
fraction, fold, seed or row; the same KEY twice means 'or', different KEYs mean 'and'
--set -> sets KEY=VALUE...  set a key of the protocol, e.g. finetune.optimiser.lr=1e-3
--records DIR...  copy scores from this output folder or bundle; cells that have scores there are not run
--redo changed|  rerun jobs made by an older version of the code, and everything that depends on them"""
COMMANDS = f"""
run  run protocols and draw their tables
{PLAN}
{RUN}
$ bench run quickstart  # synthetic scans, three minutes
$ bench run pilot_lasc --data DATA --only method=voco --log tensorboard  # one method, with curves

plan  print which jobs are needed, which are done, and what the others cost
{PLAN}
{JSON}
--detect POINTS  print the smallest difference that the protocol can detect, and how many runs (with hours) or \
test patients it needs to detect a difference of POINTS points
--gpu CARD  print the hours and the memory that each training needs on CARD, and whether it fits; CARD is a \
name (h100-80gb; h100-80gbx4 for four) or a memory size (24gb); default: the card of the cluster profile
$ bench plan pilot_lasc --data DATA  # what there is to do, and what it will cost
$ bench plan voco_table1 --scale smoke --phantoms  # without any data

compete  train one more method and compare it with a protocol's stored results
track TRACK  a protocol with stored results: a file, or a name that 'bench list protocols' prints
--method NAME!  train this method
{PLUGINS}
--records DIR  compare with the results in this output folder or bundle; default: those in results/
--network NAME  train on this network of the protocol; default: the network of its first row
--params KEY=VALUE...  set a parameter of the method
--pretrain KEY=VALUE...  change a setting of the method's pretraining, e.g. crop=[24,32,24], steps=2000 or \
optimiser.lr=1e-4
{OUT}
{DATA}
{WHERE}
{RUN}
> Only the new method is trained. The stored results have a score for each patient, so all comparisons are \
paired. Stored results with another split, scale, recipe or convention are refused.
$ bench compete pilot_lasc --method mine --plugins mine.py --data DATA  # train it and compare it
$ bench compete pilot_lasc --method mine --plugins mine.py --data DATA --dry-run  # print the plan only

status  print which jobs are running, done and failed
{OUT}
{JSON}
--prune  remove the work folders of jobs that no protocol needs any more
$ bench status  # of the output folder runs
$ bench status --out DIR --prune  # and remove what no protocol needs any more

verify  check every published file against its checksum
{OUT}
$ bench verify  # every file of the output folder runs
$ bench verify --out DIR

report  draw tables, figures and a page from stored results
protocols PROTOCOL...  a protocol file, a name that 'bench list protocols' prints, or one bundle
{PLUGINS}
--scale paper|pilot|smoke  use the results of this scale; default: the scale of the last run
{OUT}
--to DIR  write the report to DIR; default: OUT/reports/<name>; a bundle needs this flag
--plain  only print tables as papers do, without verdicts, intervals and ranks; no file is written
--paper DIR  write no page; write files for a paper to DIR: a LaTeX file for each table, and sentences.txt
--table -> tables NAME...  with --paper: write only this table (its file name without .tex)
--serve  serve the reports to a browser on this machine, and redraw them while a run continues
--port N  with --serve: use this port; 0 picks a free port; default: 8321
$ bench report pilot_lasc  # draw it again from the stored results
$ bench report pilot_lasc --paper DIR  # tables and sentences for a paper

bundle  save protocols, stored results and splits in one file, to share it
usage: bench bundle PROTOCOL... [--out DIR] [--data DIR] [--to FILE]
usage: bench bundle verify FILE [--json]
what PROTOCOL...  a protocol file, or a name that 'bench list protocols' prints; or: verify FILE
{OUT}
--data DIR  find the data sets in DIR, to list the patients of splits by rule; default: BENCH_DATA
--to FILE  write to FILE; default: <name>.bench.zip in this folder, for several protocols bundle.bench.zip
--json  with verify: print JSON instead of text
> A bundle contains no images. 'bench report FILE --to DIR' draws its tables again, without data or a GPU. \
'bench bundle verify FILE' checks the checksum of each file, and whether its tables come out the same when they are \
drawn again.
$ bench bundle pilot_lasc --to lasc.bench.zip
$ bench bundle verify lasc.bench.zip

compare  list the scores that differ between two runs of a protocol by more than noise
a A  an output folder, a bundle, or a file records/<name>.parquet
b B  the folder, bundle or file to compare with A
--protocol NAME  compare this protocol; needed if A and B both have several protocols
{JSON}
--ranks  compare how methods rank by probe and by fine-tuning, over all protocols in A and B
--to DIR  with --ranks: write the page, its tables and its figure to DIR
> The exit code is 1 if a cell moved beyond noise.
$ bench compare runs runs_of_last_month  # two output folders
$ bench compare runs/records/studies_probes_3d.parquet results/pilot --ranks --to ranks  # probe, fine-tuned

judge  test which methods differ, in any table of scores
tables TABLE...  a file (CSV, Parquet, JSON lines, nnU-Net's summary.json, a result of mteb or kaiko eva) or a \
folder of such files
--baseline NAME  compare all other methods with this one
--method COLUMN  use COLUMN as the method
--case COLUMN  use COLUMN as the scan or image; methods are compared on the same cases
--score COLUMN  use COLUMN as the score
--run COLUMN  use COLUMN as the independent training run, usually its seed
--patient COLUMN  use COLUMN as the patient, if patients have several cases
--patients PATTERN  how to find the patient of each case: a regular expression whose group is the patient, or a \
CSV or JSON file that lists the patient of each case
--dataset COLUMN  use COLUMN as the data set
--target COLUMN  use COLUMN as the organ or label
--metric COLUMN  use COLUMN as the metric
--fold COLUMN  use COLUMN as the cross-validation fold
--pretraining COLUMN  use COLUMN as the pretraining that a run starts from; runs that share a \
pretraining are not treated as independent
--wide methods|targets|metrics|cases  set what the columns are, if several columns hold scores (a wide table)
--only KEY=VALUE...  use only rows where KEY has this VALUE; KEY is a column, or method, dataset, target or \
metric; the same KEY twice means 'or', different KEYs mean 'and'
--without COLUMN...  ignore this column
| --higher  treat higher scores as better, for a metric that bench does not know
| --lower  treat lower scores as better, for a metric that bench does not know
--unit 1|%  say that Dice and similar scores are from 0 to 1, or in percent; default: told by the values
--infinite NUMBER  count an infinite distance as NUMBER; 'missing' leaves it out
--region SIZE  set the equivalence margin, in the unit of the file; default: 0.01 for Dice and similar scores
--require SENTENCE...  require 'A better than B' ('worse than', 'equivalent to') on every data set, by the \
first metric
--to DIR  also write the results to DIR: a web page, and Markdown, LaTeX and CSV files
{JSON}
> Columns are recognised by their names. The first table that is printed shows how each column was read. '-' in \
the place of COLUMN means that there is no such column. The exit code is 1 if a requirement does not hold.
$ bench judge scores.csv --baseline nnunet --to judged  # columns case, method, dice
$ bench judge nnUNet_results/Dataset004_Hippocampus  # all trainers of a cross-validation

list  list methods, data sets, networks, protocols and more by name
what methods|datasets|mixtures|networks|weights|metrics|protocols
[name NAME]  with datasets: print the recipes and splits of this data set, and their sizes on this machine
{DATA}
{PLUGINS}
{JSON}
$ bench list methods
$ bench list datasets --json  # for a program
$ bench list weights  # public weights that a row can start from

check  open every case of a data set and list what is wrong
dataset  a name that 'bench list datasets' prints, or a folder in MSD layout
{DATA}
{PLUGINS}
{CORES}
--to FILE  also write a page with the number of cases and labels, and with a slice of each case
{JSON}
$ bench check lasc --data DATA  # what DATA/lasc contains, and what is wrong
$ bench check DATA/my_scans --to check.html  # any folder in MSD layout, with a page

phantom  write synthetic cases in a data set's layout
dataset  a name that 'bench list datasets' prints
directory DIR  write the scans to DIR/DATASET
--cases N (10)  write N cases; default: 10
--seed S (0)  use this random seed; default: 0
{PLUGINS}
$ bench phantom btcv DATA  # ten scans in DATA/btcv
$ bench phantom acdc DATA --cases 4 --seed 1

score  score label maps from any tool against a reference
--prediction P...!  score this volume, picture or folder; several predictions are ranked
--reference R!  compare with this volume, picture or folder; files of two folders are paired by name without \
suffix
--metrics NAMES (dice,iou,hd,hd95)  compute these metrics, separated by commas: names from 'bench list \
metrics', 'all', or 'lesions' (all lesion metrics); default: dice,iou,hd,hd95
--labels VALUES  score only these labels, separated by commas; default: every label in the files
--regions NAME  score the regions of a data set instead of labels, e.g. brats
--ignore VALUE  ignore voxels where the reference has this value, because nobody labelled them
--map VALUES ()  score values of the predictions as other labels, e.g. 255=1 or 1=10,2=20
--convention medpy|monai|deepmind  compute surface metrics as this library does; default: medpy; for several \
predictions all three
--empty default|brats|skip (default)  set the rule for empty masks; if both masks are empty, default and skip \
leave the target out, brats counts it as perfect
--verify  compute the scores again with medpy and print the differences
--ignore-geometry  compare voxels as stored: axes are not reoriented and positions are not checked
{JSON}
$ bench score --prediction mine.nii.gz --reference truth.nii.gz
$ bench score --prediction a/ --prediction b/ --reference truth/ --metrics dice,nsd@1mm  # ranked

embed  write the features of each case, computed by a frozen encoder, to files
dataset DATASET  a name that 'bench list datasets' prints
--init WEIGHTS!  load the weights from a file or a job of OUT (named as for 'bench export'), or use 'random' ones
--network NAME!  use this network of 'bench list networks'; NAME/PRESET picks a preset; default: the preset of \
the weights
--to DIR!  write <case>.npy for each case and manifest.json to DIR; a stopped command continues there
--voxels  write the features of each voxel as a map, <case>.b2nd, instead of one vector for each case
--levels LEVELS  use only these feature maps of the encoder, separated by commas, 0 is the finest; default: all
--recipe NAME (default)  prepare scans by this recipe of the data set; default: the recipe 'default'
--crop X,Y,Z  read crops of this size, in voxels; default: the crop of the preset
{DATA}
{OUT}
--workers N ({os.cpu_count() or 1})  prepare scans in at most N processes; default: one per core
$ bench embed msd04_hippocampus --init weights.safetensors --network unet3d --to embeddings --data DATA
$ bench embed msd04_hippocampus --init 3f2a --network unet3d/tiny --voxels --to maps --data DATA

export  write the weights or the predictions of a finished job to a file
job ROW  a row's name, a job's id, or the beginning of an id; a row's name means its pretraining, or its \
fine-tuning if it has no pretraining; add @STEP for a snapshot of a pretraining, or @last for the last weights \
of a fine-tuning; default: the weights that the table scores
--to FILE!  write to this new file
--format safetensors|torch|monai|nnunet|nnssl|submission (safetensors)  choose the format; torch writes a plain \
state_dict; monai writes one that MONAI's own class loads, and a .json file of the same name with the call that \
builds it; nnunet and nnssl both write a checkpoint for nnU-Net and nnssl, and a .json file of the same name with \
the network for nnU-Net's plans; submission writes a job's predictions for a challenge's server; default: safetensors
--plans FILE  with --format nnunet: also write a copy of FILE, a plans file that nnU-Net made for its data set, \
with the network of these weights
--only KEY=VALUE...  pick one job of a row with several; KEY is seed, pretrain_seed, fold, fraction, dataset, \
protocol, scale, or kind (pretrain, finetune)
{OUT}
$ bench export simclr3d --to weights.safetensors --only seed=0  # the row's pretraining, of seed 0
$ bench export 3f2a --to checkpoint.pth --format nnunet  # the job whose id begins with 3f2a, for nnU-Net

cancel  cancel the tasks of an output folder in SLURM's queue
{OUT}
$ bench cancel  # the tasks of the output folder runs
$ bench cancel --out DIR

cluster  test a cluster profile of bench.toml
what check|  submit small tasks to SLURM and print what works
[name NAME]  test the profile [cluster.NAME]; default: no profile, the cluster's own defaults
{OUT}
--wait SECONDS (300)  wait at most SECONDS for a task to start; default: 300
{JSON}
$ bench cluster check  # with the cluster's own defaults
$ bench cluster check gpu --wait 600  # the profile [cluster.gpu] of bench.toml

new  write a template for a method, data set, network or protocol of your own
kind method|dataset|network|protocol
name NAME  a Python name that is not used yet
--to DIR (.)  write to DIR; default: this folder
--dims 3|2 (3)  for a method: 2 is a method that pretrains on slices; default: 3
$ bench new method my_method --to mine  # writes mine/my_method.py, its test and a protocol
$ bench new method my_method --dims 2  # the same for slices, in this folder
$ bench new dataset my_scans  # in this folder

init  write a first protocol for a folder of your own scans
folder DIR  the folder of the scans
--to FILE  write the protocol to FILE; default: DIR's name with .yaml, in this folder
--labels NAMES ()  name the labels, e.g. 1=liver,2=tumour
--channels NAMES ()  name the channels, e.g. CT, or T1,FLAIR
--image PATTERN...  find scans in another layout by this pattern: '*/T1.nii.gz'; give one for each channel
--label PATTERN...  find their label maps by this pattern, with the same wildcards: '*/mask.nii.gz'; give one for \
each organ if every organ has a file of its own: they become the labels 1, 2, ... of one label map
--links DIR  with --image: write links to the files, in MSD layout, to this folder; default: the scans' folder \
with _msd at the end of its name
--patients PATTERN  if patients have several cases: a regular expression whose group is the patient of a case
--network {NETWORKS} (resenc_unet)  use this network; \
only resenc_unet exports to nnU-Net; default: resenc_unet
{CORES}
> DIR holds imagesTr and labelsTr, the layout of the Decathlon (MSD) and of nnU-Net. For another layout, --image \
and --label find the files, and a new folder links to them. If there is no dataset.json, the command writes \
one. On a terminal it asks for the names that --labels and --channels do not give, and for a Dice that others \
reach; elsewhere it calls labels \
label_1, ...
$ bench init DATA/my_scans  # writes my_scans.yaml
$ bench init SCANS --image '*/T1.nii.gz' --label '*/mask.nii.gz' --labels 1=tumour  # another layout, asks less

completion  print a script that lets your shell complete bench's commands
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
    versions = "print the versions of bench, Python, torch and monai"
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
        repeats = {"action": "append", "default": [], "help": f"{part['help']}; may be repeated"}
        options |= repeats if flag else {"nargs": "+"}
    elif part["optional"]:
        options["nargs"] = "?"
    if value and "|" in value:
        options["choices"] = tuple(filter(None, value.split("|")))
    elif value:
        options |= {"metavar": value, "type": TYPES.get(value)}
    return names, options


class _Store(argparse._StoreAction):
    """Takes one value; a second is refused, however its flag is spelled."""

    def __call__(self, parser: Any, namespace: Any, values: Any, flag: Any = None) -> None:
        if flag:
            several = self.metavar in ("NAMES", "VALUES", "LEVELS")
            parser.refuse_second("/".join(self.option_strings), values, "," if several else "")
        super().__call__(parser, namespace, values, flag)


class _Append(argparse._AppendAction):
    """Adds its values up; of settings, a second one of a key is refused."""

    def __call__(self, parser: Any, namespace: Any, values: Any, flag: Any = None) -> None:
        key, equals, value = str(values).partition("=")
        if equals and self.metavar == "KEY=VALUE" and self.dest != "only":
            parser.refuse_second(f"{self.option_strings[-1]} {key.strip()}", value)
        super().__call__(parser, namespace, values, flag)


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, with the nearest word that there is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.given = dict[str, Any]()  # values by flag
        for name, action in ((None, _Store), ("append", _Append)):
            self.register("action", name, action)

    def refuse_second(self, flag: str, value: Any, separator: str = "") -> None:
        """Refuse a flag that was given before; ``separator``: between the values that it takes."""
        if flag in self.given:
            first = self.given[flag]
            once = f" as {first}{separator}{value}" if separator else ""
            self.error(f"{flag}: given twice, {first} and {value}; give it once{once}")
        self.given[flag] = value

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return what was parsed; without a word print the commands."""
        words = sys.argv[1:] if args is None else list(args)
        is_command = self.get_default("command") is not None
        self.given.clear()
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
