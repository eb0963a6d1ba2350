"""``docs/layers.svg``: who may know whom, drawn from the contract that ``lint-imports`` checks.

``python -m bench.extras.site.drawing`` writes it anew.
"""

from __future__ import annotations

import ast
import html
import tomllib
from pathlib import Path

from bench.protocol.named import ROOT

PAGE = Path("docs/layers.svg")
WIDTH, ROW, GAP, LEFT = 940, 30, 5, 34  # pixels
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1a2230}.n{font-weight:600}.s{fill:#5b6776}"
    ".c{fill:#fff}.b{fill:#eef3f8;stroke:#b9c2cd}.a{stroke:#5b6776;stroke-width:2;fill:none}"
)


def layers() -> list[list[str]]:
    """Return the layers from top to bottom; the modules of one know nothing of each other."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = said["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c.get("containers") == ["bench"])
    return [layer.split(" | ") for layer in contract["layers"]]


def about(module: str) -> str:
    """Return the first sentence of a module's docstring; nothing of one that has none."""
    file = ROOT / "bench" / module / "__init__.py"
    file = file if file.is_file() else ROOT / "bench" / f"{module}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).split(". ")[0].replace("``", "")


def drawing() -> str:
    """Return ``docs/layers.svg``."""
    every = layers()
    height = 2 * GAP + len(every) * (ROW + GAP) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        "<title>Layers of bench: a module imports modules below it, and none above or beside it</title>",
        f'<style>{STYLE}</style><rect class="c" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<path class="a" d="M17 14V{height - 38}m-5 -8l5 8l5 -8"/>',
    ]
    for number, layer in enumerate(every):
        parts += _row(layer, 2 * GAP + number * (ROW + GAP))
    words = "A module imports what stands below it, never what stands above it or in its own row."
    return "\n".join(
        [*parts, f'<text class="s" x="{LEFT}" y="{height - 10}">{words}</text>', "</svg>", ""]
    )


def _row(layer: list[str], y: int) -> list[str]:
    """Return the boxes of one layer; where it is one module, what it is for stands beside its name."""
    wide = (WIDTH - LEFT - 2 * GAP - GAP * (len(layer) - 1)) / len(layer)
    parts = []
    for number, module in enumerate(layer):
        x, told = LEFT + number * (wide + GAP), html.escape(about(module))
        parts.append(f'<rect class="b" x="{x:g}" y="{y}" width="{wide:g}" height="{ROW}" rx="4"/>')
        beside = f'<tspan class="s" x="{x + 110:g}">{told}</tspan>' if len(layer) == 1 else ""
        name = f'<tspan class="n">{module}</tspan>{beside}'
        parts.append(f'<text x="{x + 8:g}" y="{y + 20}">{name}<title>{told}</title></text>')
    return parts


if __name__ == "__main__":
    (ROOT / PAGE).write_text(drawing(), encoding="utf-8")
