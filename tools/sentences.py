"""Sentences of README, help, report pages and messages: all of them, or some at random for a reader to judge.

python tools/sentences.py --seed 1 --count 20            # twenty at random, their kinds equally often
python tools/sentences.py > all.md                       # every one
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPLIT = re.compile(r"(?<=[.!?])\s+(?=[A-Z`0-9])")
NUMBERS = re.compile(
    r"“[^”]*”|[-+\u2212]?[0-9][0-9.,]*|[0-9a-f]{16}"
)  # by which two sentences of a page are the same
WORDS = 4  # fewer are a label, not a sentence


class _Text(HTMLParser):
    """Keeps the text of each block of a page, without scripts, styles and drawings."""

    HIDDEN = frozenset({"script", "style", "svg", "textarea", "pre"})
    INLINE = frozenset(
        {"a", "b", "i", "em", "strong", "span", "abbr", "sup", "sub", "small", "code"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.now, self.hidden = [], "", 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in self.HIDDEN:
            self.hidden += 1
        elif tag not in self.INLINE:
            self._end()

    def handle_endtag(self, tag: str) -> None:
        if tag in self.HIDDEN:
            self.hidden -= 1
        elif tag not in self.INLINE:
            self._end()

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.now += data

    def _end(self) -> None:
        self.blocks.append(" ".join(self.now.split()))
        self.now = ""


def _sentences(blocks: list[str]) -> list[str]:
    split = (part.strip() for block in blocks for part in SPLIT.split(block))
    long = [s for s in split if len(re.findall(r"[A-Za-z]{2,}", s)) >= WORDS]
    return list({NUMBERS.sub("#", s): s for s in reversed(long)}.values())[::-1]


def readme() -> list[str]:
    """Return the sentences of README."""
    text = re.sub(
        r"```.*?```|^    .*$|^\|.*$|!\[.*?\]\(.*?\)|<img[^>]*>",
        "\n",
        (ROOT / "README.md").read_text("utf-8"),
        flags=re.S | re.M,
    )
    text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", text)
    return _sentences([" ".join(block.split()) for block in re.split(r"\n\s*\n|\n(?=[-#*])", text)])


def pages() -> list[str]:
    """Return the sentences of all tracked report pages."""
    blocks: list[str] = []
    for page in sorted(ROOT.glob("reports/**/*.html")):
        reader = _Text()
        reader.feed(page.read_text("utf-8"))
        blocks += reader.blocks
    return _sentences(blocks)


def help_lines() -> list[str]:
    """Return what the help of each command says of it and of its flags."""
    said: list[str] = []
    top = _help()
    for command in re.findall(r"^    ?([a-z]+)  ", top, flags=re.M):
        text = _help(command).split("\nexamples:")[0]
        text = re.sub(r"^usage:.*?\n\n", "", text, flags=re.S)
        for block in re.split(r"\n(?=  -)|\n\s*\n", text):
            body = re.sub(r"^\s+-\S.*?(?:\s{2,}|\n)", "", block)
            said.append(f"{' '.join(body.split())}")
    return _sentences(said)


def _help(*command: str) -> str:
    words = [sys.executable, "-m", "bench", *command, "--help"]
    return subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def messages() -> list[str]:
    """Return the texts of every error that a user can see, with {} for what is put in."""
    said: list[str] = []
    for path in sorted((ROOT / "bench").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                name = ast.unparse(node.exc.func)
                if name.endswith(("Error", "Mistake")) and name.startswith(
                    ("Bench", "Data", "Protocol")
                ):
                    said.append(_spelled(node.exc.args[0]))
    return list(dict.fromkeys(s for s in said if len(re.findall(r"[A-Za-z]{2,}", s)) >= WORDS))


def _spelled(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            _spelled(v) if isinstance(v, ast.Constant) else "{" + ast.unparse(v.value)[:30] + "}"
            for v in node.values
        )  # type: ignore[attr-defined]
    if isinstance(node, ast.BinOp):
        return _spelled(node.left) + _spelled(node.right)
    return "{…}"


KINDS = {"README": readme, "help": help_lines, "page": pages, "message": messages}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, help="this many at random; default: all")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    for kind, read in KINDS.items():
        every = read()
        some = (
            every
            if given.count is None
            else rng.sample(every, min(len(every), given.count // len(KINDS)))
        )
        print(f"## {kind}: {len(every)} sentences\n")
        print("\n".join(f"- {s}" for s in some), end="\n\n")
