"""What README and docs say of files, names, flags and links of this tree is so."""

import csv
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from bench import __version__
from bench.arguments import parser
from bench.cli import main

ROOT = Path(__file__).resolve().parents[1]
FIRST = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in FIRST), *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("bench", "methods", "datasets", "tools")
SOURCES = {path: path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
ENDS = "py md yaml json toml txt svg png csv tex html lock npz"
SUFFIXES = ENDS.split()
# a variable, sections of a protocol and a manifest
OTHERS = ("volume", "pretrain", "finetune", "provenance")
# of others
FOREIGN = ("NO_COLOR", "SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_")
BUILD = [(ROOT / name).read_text() for name in ("Makefile", "pyproject.toml")]
TEXT = "\n".join([*SOURCES.values(), *BUILD])
WHERE = {  # architecture.md, "Where is ... ?": what stands in the file that it names
    "HD95's percentile": "np.percentile",
    "A claim's lease": "LEASE",
    "The memory that sbatch is asked for": "mem_gb",
    "The blocks of the cache": "blosc2",
    "Keys of foreign weights": "layers",
}


def missing_paths(page, text):
    """Return the files named that are neither below the root nor next to the page."""
    rooms, suffixes = "bench|methods|datasets|protocols|tests|tools|docs|\\.ci", "|".join(SUFFIXES)
    pattern = rf"(?<![\w/.<-])((?:{rooms})/[\w./-]+\.(?:{suffixes}))\b"
    named = {path for path in re.findall(pattern, text) if "NAME" not in path}
    return [p for p in named if not (ROOT / p).exists() and not (page.parent / p).exists()]


def missing_links(page, text):
    """Return the relative links that lead nowhere."""
    links = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    return [target for target in links if not (page.parent / target).exists()]


def missing_names(page, text):
    """Return each `module.name` in code quotes whose module is one of bench's and lacks the name."""
    missing = []
    for quoted in re.findall(r"`((?:[a-z_]\w*\.)+\w+)(?:\([^`]*\))?`", text):
        *_, module, name = quoted.split(".")
        bench = (p for p in SOURCES if ROOT / "bench" in p.parents)
        files = [p for p in bench if module in (p.stem, p.parent.name)]
        if not files or name in SUFFIXES or quoted.split(".")[0] in OTHERS:
            continue
        folders = {p.parent for p in files}
        inside = any((f / f"{name}.py").exists() or (f / name).is_dir() for f in folders)
        if not inside and not any(re.search(rf"\b{name}\b", SOURCES[p]) for p in files):
            missing.append(quoted)
    return missing


def missing_constants(page, text):
    """Return the constants and variables in code quotes that occur nowhere in the source."""
    named = set(re.findall(r"`([A-Z]+_[A-Z_]*[A-Z])`", text))
    return [n for n in named if not n.startswith(FOREIGN) and not re.search(rf"\b{n}\b", TEXT)]


def missing_flags(page, text):
    """Return the flags of bench's commands that ``--help`` does not have."""
    missing = []
    for line in re.findall(r"(?m)^(?: {4}|\$ )bench +([^#\n]*)|`bench +([^`]*)`", text):
        command, *rest = "".join(line).split() or [""]
        if command not in COMMANDS:
            continue
        listed = flags(COMMANDS[command])
        named = re.findall(r"(?<!\S)\[?(--[a-z][a-z-]*)", " ".join(rest))
        missing += [f"bench {command} {flag}" for flag in named if flag not in listed]
    return missing


def flags(command):
    """Return a command's flags, those of its own commands with them."""
    listed = {text for action in command._actions for text in action.option_strings}
    return listed.union(*(flags(inner) for inner in children(command).values()))


def children(command):
    """Return the commands below a command by name."""
    for action in command._actions:
        if action.__class__.__name__ == "_SubParsersAction":
            return dict(action.choices)
    return {}


COMMANDS = children(parser())


@pytest.mark.parametrize(
    "missing", [missing_paths, missing_links, missing_names, missing_constants, missing_flags]
)
def test_what_pages_name_is_in_the_tree(missing):
    assert [(p.name, name) for p in PAGES for name in missing(p, p.read_text())] == []


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        (missing_paths, "see bench/metrics/nowhere.py"),
        (missing_links, "[a](nowhere.md)"),
        (missing_names, "`typed.nowhere`"),
        (missing_constants, "`BENCH_NOWHERE`"),
        (missing_flags, "`bench run a.yaml --nowhere`"),
    ],
)
def test_what_is_not_there_is_noticed(missing, text):
    assert len(missing(PAGES[0], text)) == 1


def test_there_is_one_version_with_a_date():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"(?m)^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text())
    assert newest.groups() == (__version__, cited["date-released"])
    assert cited["version"] == __version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dynamic"] == ["version"] and project["license"] == cited["license"]


def test_what_pip_is_told_to_install_is_not_another_project():
    """`bench` on the index is not ours, with or without extras."""
    printed = re.compile(r"(?<![\w-])bench\[|\bpip install[^\n`]*[ '\"]bench(?![\w/.-])")
    templates = (ROOT / "bench" / "extras" / "templates").rglob("*.yaml")
    for path in (*PAGES, *SOURCES, *templates, ROOT / "Makefile"):
        lines = filter(printed.search, path.read_text().splitlines())
        assert [line for line in lines if "Do not `pip install bench`" not in line] == [], path
    assert printed.search("pip install 'bench[wandb]'") and printed.search("pip install -q bench")
    assert not printed.search("pip install 'medssl-bench[wandb]'")


@pytest.mark.parametrize("what", WHERE)
def test_architecture_says_where_things_are(what):
    text = (ROOT / "docs" / "architecture.md").read_text()
    file = re.search(rf"{re.escape(what)}: `([^`]*)`", text)[1]
    assert WHERE[what] in (ROOT / "bench" / file).read_text()


def test_the_commands_of_the_readme_are_understood_and_its_jobs_are_planned(tmp_path, monkeypatch):
    """Those that would train are planned alone; a GPU's hours are the counted ones, a cluster is not here."""
    text = (ROOT / "README.md").read_text()
    commands = [line.split("#")[0].split()[1:] for line in re.findall(r"(?m)^ {4}bench .*$", text)]
    monkeypatch.chdir(tmp_path)
    phantom = ["phantom", "msd04_hippocampus", "all", "--cases", "30"]
    assert main(phantom) == 0
    (tmp_path / "DATA").mkdir()
    Path("all/msd04_hippocampus").rename("DATA/my_scans")
    for words in commands:
        known = parser().parse_args(words)
        if "--gpu" in words or "--executor" in words or known.command in ("cluster", "status"):
            continue
        assert main([*words, "--dry-run"] if known.command == "run" else words) == 0, words
    with (ROOT / "results" / "gpu.csv").open() as file:
        hours = {row["protocol"]: float(row["hours"]) for row in csv.DictReader(file)}
    assert f"about {round(hours['voco_table1'], -1):.0f} hours of one H100" in text
