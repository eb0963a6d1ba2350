"""Damage to YAML: its tree, its lines, and what only YAML can do to a reader (bombs, merges, tags)."""

from __future__ import annotations

import random
from typing import Any

import mutate
import yaml

TAGS = ("!!python/object/apply:os.system [echo]", "!!binary 'x'", "!!set {a, b}", "!!timestamp 2001-99-99",
        "!!omap [a: 1]", "!!int x", "!!float x", "!!int ''", "!!null x", "!!bool maybe", "!x y", "!!str [a]",
        "!!map a", "!!merge x", "2001-99-99", "1999-02-30 25:61:00", "=", "<<", "~", ".nan", "-.inf", "1e999",
        "0x10", "0o7", "1_0", "1:30", "!!seq {a: 1}", "!!pairs [a: 1, a: 2]")  # fmt: skip


def as_yaml(rng: random.Random, plain: Any, text: str) -> bytes:
    """Return at most 20 KB of YAML: of a damaged tree, with lines damaged, or with what only YAML can do."""
    made = _yaml(rng, plain, text)
    return made if len(made) <= 20_000 else text.encode()


def _yaml(rng: random.Random, plain: Any, text: str) -> bytes:
    kind = rng.random()
    if kind < 0.5:
        return _dumped(rng, mutate.tree(rng, plain))
    if kind < 0.75:
        return _lines(rng, text)
    if kind < 0.9:
        return rng.choice((_bomb, _aliased, _merged, _tagged, _nested))(rng, text).encode("utf-8", "replace")
    return mutate.damaged(rng, text.encode())


def _dumped(rng: random.Random, plain: Any) -> bytes:
    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    try:
        text = yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True,
                         default_flow_style=rng.choice((None, False, True)))  # fmt: skip
    except RecursionError:
        text = "a: " + "[" * 400
    return text.encode("utf-8", "surrogatepass")


def _lines(rng: random.Random, text: str) -> bytes:
    lines = text.splitlines()
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines)) if lines else 0
        kind = rng.randrange(6)
        if kind == 0:
            del lines[at : at + rng.randint(1, 3)]
        elif kind == 1:
            lines.insert(at, rng.choice(lines) if lines else "a: 1")
        elif kind == 2 and lines:
            lines[at] = " " * rng.randint(0, 6) + lines[at].lstrip()
        elif kind == 3 and lines:
            key, colon, _ = lines[at].partition(":")
            lines[at] = f"{key}{colon} {rng.choice((*mutate.TEXTS, *TAGS, *mutate.INTEGERS, *mutate.FLOATS))}"
        elif kind == 4 and lines:
            lines[at] = lines[at].replace(
                *rng.choice((("[", "{"), ("]", ""), (":", ""), (",", ": "), ("{", "[")))
            )
        else:
            lines.insert(
                at, "  " * rng.randint(0, 3) + f"{rng.choice(mutate.TEXTS[:20])}: {rng.choice(TAGS)}"
            )
    return "\n".join(lines).encode("utf-8", "replace")


def _bomb(rng: random.Random, text: str) -> str:
    """Aliases of aliases: a kilobyte that stands for billions of values, at a place that is read."""
    width, levels = rng.choice(((10, 9), (3, 30), (2, 60), (9, 4)))
    open_, close = rng.choice(("[]", "{}"))
    lines = [f"x0: &x0 {rng.choice(('lol', '[lol]', '{k: lol}'))}"]
    for n in range(1, levels):
        inside = ", ".join(f"k{i}: *x{n - 1}" if open_ == "{" else f"*x{n - 1}" for i in range(width))
        lines.append(f"x{n}: &x{n} {open_}{inside}{close}")
    if rng.random() < 0.5:
        return "\n".join(lines) + "\n" + text
    return text + "\nscales: {smoke: {rows: {" + ", ".join(x.replace(": ", ": ", 1) for x in lines) + "}}}\n"


def _aliased(rng: random.Random, text: str) -> str:
    return text.replace(
        ": ", rng.choice((": &a ", ": *a ", ": &a [*a]", ": &a {a: *a} # ")), rng.randint(1, 3)
    )


def _merged(rng: random.Random, text: str) -> str:
    what = rng.choice(
        ("<<: {a: 1}", "<<: [1, 2]", "<<: x", "? [a, b]\n: 1", "? {a: b}\n: c", "? ''\n: 1", "? \n: 1")
    )
    return rng.choice(
        (f"{what}\n{text}", f"{text}\n{what}\n", text.replace("{", "{" + what.split("\n")[0] + ", ", 1))
    )


def _tagged(rng: random.Random, text: str) -> str:
    lines = text.splitlines()
    spots = [i for i, line in enumerate(lines) if ": " in line and not line.lstrip().startswith("#")]
    if spots:
        at = rng.choice(spots)
        lines[at] = lines[at].partition(": ")[0] + ": " + rng.choice(TAGS)
    return "\n".join(lines)


def _nested(rng: random.Random, text: str) -> str:
    levels = rng.choice((20, 200, 400, 2000, 50_000))
    shape = rng.choice(("[", "{a: ", "- ", "? "))
    key = rng.choice(("title", "rows", "metrics", "notes", "pretrain", "zzz"))
    if shape in ("- ", "? "):
        levels = min(levels, 2000)  # the scanner's own cost is quadratic in block indentation
    return f"{text}\n{key}: {shape * levels}" if shape != "- " else f"{text}\n{key}:\n  {shape * levels}x"
