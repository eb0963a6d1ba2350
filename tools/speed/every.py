"""``make speed``: run every script of docs/speed.md and draw the page anew.

    python tools/speed/every.py [NAME ...]

What a script prints is put between ``<!-- NAME -->`` and ``<!-- /NAME -->``, under a line that says how it
was made, on which commit and machine, and whether that was quiet; its lines ``In short: ...`` make the
page's first table. Below that table stand the versions that most blocks were made with; a block names its
own only if they differ. Prose between the blocks is written by hand and quotes none of their figures. A script
whose needs are not met here is left out with a line that says what it lacks, and one that fails leaves its
block as it was; what it printed is in build/speed/NAME.md.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from machine import ROOT, machine, quiet

PAGE = ROOT / "docs" / "speed.md"
SHORT = "In short: "
VERSIONS = "Versions, unless a block names others: "
BLOCK = re.compile(  # how a block was made, versions, and what follows them
    r"(?m)^(`python tools/speed/[^`]*`: .*; commit [^;]*)(?:; (Python [^;]*))?(; [\d.]+ minutes; )"
)
LACKS = {
    "BENCH_DATA": "a folder of data sets: set BENCH_DATA",
    "NNUNET_PYTHON": "an interpreter that has nnunetv2: set NNUNET_PYTHON",
    "SLURM_CONF": "a running SLURM: set SLURM_CONF",
}


@dataclass(frozen=True)
class Script:
    """One run of a script.

    Args:
        name: what it is called on the command line, and its table.
        line: file, without suffix, and arguments; ``$NAME`` is taken from the environment.
        needs: keys of ``LACKS``: a variable that is set, or a path that is there.
    """

    name: str
    line: str
    needs: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        return ROOT / "tools" / "speed" / f"{self.line.split()[0]}.py"

    def lacking(self) -> list[str]:
        """Return what to say of the needs that are not met."""
        return [why for need, why in LACKS.items() if need in self.needs and not is_set(need)]

    def command(self) -> list[str]:
        return [sys.executable, str(self.file), *map(os.path.expandvars, self.line.split()[1:])]


SCRIPTS = (
    Script("commands", "commands --rounds 9", ("BENCH_DATA",)),
    Script("report", "large_report --rounds 1"),
    Script("crops", "crops"),
    Script("prepare", "prepare"),
    Script("loop", "loop --steps 100"),
    Script("share", "share", ("BENCH_DATA",)),
    Script("learning", "learning", ("BENCH_DATA",)),
    Script(
        "nnunet", "learning --side nnU-Net --nnunet $NNUNET_PYTHON", ("BENCH_DATA", "NNUNET_PYTHON")
    ),
    Script("views", "views --rounds 5"),
    Script("masked", "masked"),
    Script("masked-small", "masked --preset small"),
    Script("metrics", "metrics --rounds 3 --metrics full"),
    Script("inference", "inference --rounds 3", ("BENCH_DATA",)),
    Script("latency", "latency --warm-up 1 --repeats 5"),
    Script("submission", "submission"),
    Script("submission-real", "submission --real", ("SLURM_CONF",)),
    Script("packing", "packing --cells 12 --pack 6", ("SLURM_CONF",)),
    Script("guard", "guard --data $BENCH_DATA/msd04_hippocampus --rounds 1", ("BENCH_DATA",)),
    Script(
        "guard-many", "guard --data $BENCH_DATA/msd04_hippocampus --large 1808 200", ("BENCH_DATA",)
    ),
    Script(
        "guard-channels",
        "guard --data $BENCH_DATA/own_brain_tumour --large 22000 285 --channels 4 --part 48 --tests 4",
        ("BENCH_DATA",),
    ),
    Script("growth", "growth", ("BENCH_DATA",)),
)


def is_set(need: str) -> bool:
    return bool(os.environ.get(need))


def run(script: Script, folder: Path) -> tuple[int, str]:
    """Return a script's exit status, and its block: what was run, where, and what it said."""
    # as it begins: commits may follow
    local, began = [re.sub("^quiet.*", "quiet", quiet()), *machine().values()], time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        script.command(), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    file, *arguments = script.line.split()
    minutes = f"{(time.monotonic() - began) / 60:.1f} minutes"
    facts = [*local, minutes, date.today().isoformat()]
    shown = f"`python tools/speed/{' '.join([f'{file}.py', *arguments])}`"
    block = f"{shown}: {'; '.join(facts)}.\n\n{done.stdout.strip()}\n"
    (folder / f"{script.name}.md").write_text(block)
    return done.returncode, block


def redrawn(page: str, name: str, block: str) -> str:
    """Return the page with another block of this name, and its first table as the blocks now say."""
    page, count = re.subn(
        rf"(?s)(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: f"{m[1]}\n{block}\n{m[2]}", page
    )
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} blocks <!-- {name} -->")
    if name == "short":
        return page
    first = overview(page)  # of the versions as they stand before they are shortened
    return redrawn(shortened(page), "short", first)


def versions(page: str) -> list[str]:
    """Return the versions that each block was made with: its own, or those below the first table."""
    stated = re.search(rf"(?m)^{VERSIONS}(.*)\.$", page)
    common = stated[1] if stated else ""
    return [block[2] or common for block in BLOCK.finditer(page)]


def shortened(page: str) -> str:
    """Return the page with versions in a block only if they differ from those of most blocks."""
    each = versions(page)
    common, texts = most(each), iter(each)

    def line(block: re.Match[str]) -> str:
        own_versions = next(texts)
        return block[1] + ("" if own_versions == common else f"; {own_versions}") + block[3]

    return BLOCK.sub(line, page)


def most(versions: list[str]) -> str:
    return Counter(versions).most_common(1)[0][0] if versions else ""


def overview(page: str) -> str:
    """Return a table of what the blocks of each section say in short, and the versions of most blocks."""
    lines = ["| what | in short |", "|---|---|"]
    for section in page.split("\n## ")[1:]:
        title, message = section.split("\n")[0], re.findall(rf"(?m)^{SHORT}(.*)$", section)
        anchor = re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))
        if message:
            lines.append(f"| [{title}](#{anchor}) | {'; '.join(message)} |")
    common = most(versions(page))
    return "\n".join([*lines, *(["", f"{VERSIONS}{common}."] if common else [])]) + "\n"


def main(names_given: list[str]) -> int:
    names = [script.name for script in SCRIPTS]
    for name in (name for name in names_given if name not in names):
        print(f"ONLY={name}: no such script; there are {', '.join(names)}", file=sys.stderr)
        return 2
    folder, failed = ROOT / "build" / "speed", False
    folder.mkdir(parents=True, exist_ok=True)
    for script in (script for script in SCRIPTS if not names_given or script.name in names_given):
        if lacking := script.lacking():
            print(f"{script.name}: left out, it needs {' and '.join(lacking)}", flush=True)
            continue
        print(f"{script.name}: {quiet()}", flush=True)
        status, block = run(script, folder)
        failed |= status != 0
        if status == 0:
            PAGE.write_text(redrawn(PAGE.read_text(), script.name, block))
        printed = "drawn"
        if status:
            printed = f"failed with {status}, what it said is in build/speed/{script.name}.md"
        print(f"{script.name}: {printed}", flush=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
