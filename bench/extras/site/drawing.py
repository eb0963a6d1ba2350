"""``docs/layers.svg``: the groups of bench's modules, each of which imports those below it alone.

``python -m bench.extras.site.drawing`` writes it anew out of ``[tool.bench.groups]`` in ``pyproject.toml``.
"""

from __future__ import annotations

import html
import textwrap
import tomllib
from pathlib import Path

from bench.protocol.named import ROOT

PAGE = Path("docs/layers.svg")
WIDTH, ROW, GAP, LEFT, MODULES = 940, 38, 5, 34, 640  # pixels; where the names of modules begin
LINE = 42  # characters of a line of names
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1a2230}.n{font-weight:600}.s{fill:#5b6776}"
    ".m{font:11px ui-monospace,monospace;fill:#5b6776}.c{fill:#fff}.b{fill:#eef3f8;stroke:#b9c2cd}"
    ".a{stroke:#5b6776;stroke-width:2;fill:none}"
)


def groups() -> dict[str, tuple[list[str], str]]:
    """Return each group's modules and its sentence, from the command line down to the core."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)["tool"]["bench"]["groups"]
    return {name: (modules.split(), about) for name, (modules, about) in table.items()}


def drawing() -> str:
    """Return ``docs/layers.svg``."""
    rows, y = list[str](), 2 * GAP
    for name, (modules, about) in groups().items():
        lines = textwrap.wrap(" ".join(modules), LINE, break_on_hyphens=False)
        height = max(ROW, 14 * len(lines) + 10)
        middle = y + height // 2
        rows += [
            f'<rect class="b" x="{LEFT}" y="{y}" width="{WIDTH - LEFT - 2 * GAP}" height="{height}" rx="4"/>',
            f'<text class="n" x="{LEFT + 10}" y="{middle + 5}">{name}</text>',
        ]
        for number, words in enumerate(halves := textwrap.wrap(about, 72)):
            at = middle + 5 + 16 * number - 8 * (len(halves) - 1)
            rows.append(f'<text class="s" x="{LEFT + 86}" y="{at}">{html.escape(words)}</text>')
        for number, words in enumerate(lines):
            at = middle + 4 + 14 * number - 7 * (len(lines) - 1)
            rows.append(f'<text class="m" x="{MODULES}" y="{at}">{words}</text>')
        y += height + GAP
    about = (
        "A group imports the groups below it, never one above. On the right: its modules in bench/."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 26}" width="{WIDTH}" role="img">',
            "<title>Groups of bench's modules: each imports groups below it alone</title>",
            f'<style>{STYLE}</style><rect class="c" width="{WIDTH}" height="{y + 26}" rx="8"/>',
            f'<path class="a" d="M17 14V{y - 8}m-5 -8l5 8l5 -8"/>',
            *rows,
            f'<text class="s" x="{LEFT}" y="{y + 14}">{about}</text>',
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    (ROOT / PAGE).write_text(drawing(), encoding="utf-8")
