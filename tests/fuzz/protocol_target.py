"""Protocols, ``bench.toml`` and what the command line lays over them, up to the printed plan."""

from __future__ import annotations

import contextlib
import io
import random
import sys
from pathlib import Path

import mutate
import mutate_yaml
import torch  # noqa: F401 - planning a method imports it, which is no execution's time
import yaml
from target import Target, one_line, tried

from bench.cli import main
from bench.protocol import SCALES, read

ROOT = Path(__file__).resolve().parents[2]
PATHS = (
    "finetune.optimiser.lr", "finetune.steps", "finetune.batch", "finetune.fraction",
    "finetune.inference.overlap",
    "pretrain.steps", "pretrain.optimiser.betas", "pretrain.snapshots", "pretrain.schedule", "network.crop",
    "network.preset", "network.network", "method.params.temperature", "method.name", "seed",
    "recipe.window", "recipe.scale",
    "recipe.spacing", "inference.batch", "init", "data.fraction", "finetune", "", ".", "a..b",
    "finetune.optimiser.lr.x",
    "pretrain.precision", "finetune.select", "finetune.augment.flip", "finetune.val_every", "weights", "x",
)  # fmt: skip
VALUES = (
    *mutate.TEXTS, *mutate_yaml.TAGS, *map(str, mutate.INTEGERS), *map(str, mutate.FLOATS), "[16, 16, 16]",
    "[1, 2]", "[]",
    "{a: 1}", "best_test", "tiny", "base", "[[[[", "*a", "&a [*a]", "{<<: [1]}", "1e-3", "[nan, inf]",
    "{? [a]: b}",
    "[" * 3000, "{a: " * 3000, "&a [x], [*a, *a]", "unetr", "bf16",
)  # fmt: skip
ONLY = ("method=scratch", "row=scratch", "seed=0", "fraction=100", "fraction=x",
"dataset=msd04_hippocampus", "seed=",
        "=", "a=b", "network=unet3d", "network=", "row=\ud800", "method=" + "x" * 5000)  # fmt: skip
TOML = (
    '[data]\nmsd04_hippocampus = "nowhere"\n', '[data]\na = "~nobody/x"\n', "data = 1\n",
    "[data]\na = 1\n", "[data\n",
    '[data]\nmsd04_hippocampus = "\\u0000"\n', '[data]\nmsd04_hippocampus = "' + "x" * 5000 + '"\n',
    "a = " + "[" * 5000,
    '[data]\nmsd04_hippocampus = "."\n', '[data]\nmsd04_hippocampus = "bench.toml"\n', "[data.a.b]\n",
    "a = 1e999\n",
    "a = " + "9" * 5000 + "\n", "x." * 3000 + "y = 1\n",
)  # fmt: skip
SMALL = """\
title: small
networks:
  net: {network: unet3d, preset: tiny, crop: [32, 32, 32]}
  vit: {network: unetr, preset: tiny, crop: [64, 64, 32]}
rows:
  alone: {method: scratch, network: net}
  pair:
    {method: simclr3d, network: net, params: {temperature: 0.2}, pretrain: {steps: 4, snapshots: [2]}, at: 2}
  vit: {method: scratch, network: vit, finetune: {batch: 3, optimiser: {lr: 1e-3}}}
  masked: {method: mae3d, network: vit}
pretrain: {datasets: [{dataset: msd04_hippocampus, cases: all}], epochs: 2, batch: 4, precision: fp32}
finetune:
  - {dataset: msd04_hippocampus, split: even, fractions: [25, 100], seeds: [0, 1], steps: 6, hold: steps,
     select: best_val}
metrics: [dice, hd95, nsd@1mm]
layout: {columns: fractions, groups: {a: [alone]}}
embeddings: {samples: 12, beside: {other: {network: net, init: w.pth}}}
phantoms: {msd04_hippocampus: {cases: 12}}
notes: [one]
baseline: unequal
scales:
  smoke:
    finetune: {steps: 2, recipe: {resize: [32, 32, 32], scale: zscore}}
    rows: {vit: {finetune: {steps: 1}}}
"""


class Protocols(Target):
    """Every protocol of the project and a small one with every section, at every scale, planned."""

    name, slow = "protocol", 7_000

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts = [SMALL] * 6 + [p.read_text() for p in sorted((ROOT / "protocols").rglob("*.yaml"))]
        self.plain = [yaml.safe_load(text) for text in self.texts]
        sys.path.insert(0, str(ROOT))

    def once(self, rng: random.Random) -> None:
        which = rng.randrange(len(self.texts))
        path = self.folder / "p.yaml"
        whole = rng.random() < 0.2
        path.write_bytes(self.texts[which].encode() if whole
                         else mutate_yaml.as_yaml(rng, self.plain[which], self.texts[which]))  # fmt: skip
        scales = rng.sample((None, *SCALES), 2)
        good = [scale for scale in scales if tried(read, path, scale) is not None]
        if not good:
            return
        scale = rng.choice(good)
        arguments = ["plan", str(path), "--out", str(self.folder / "out")]
        arguments += ["--json"] * (rng.random() < 0.5) + (["--scale", scale] if scale else [])
        if whole or rng.random() < 0.2:
            arguments += [
                f"--set={rng.choice(PATHS)}={rng.choice(VALUES)}" for _ in range(rng.choice((1, 1, 2)))
            ]
        if rng.random() < 0.1:
            arguments += [f"--only={rng.choice(ONLY)}"]
        toml = self.folder / "bench.toml"
        if rng.random() < 0.1:
            raw = rng.choice(TOML).encode()
            toml.write_bytes(raw if rng.random() < 0.7 else mutate.damaged(rng, raw))
        try:
            command(arguments)
        finally:
            toml.unlink(missing_ok=True)


def command(arguments: list[str]) -> None:
    """Run a command as a person would; what it refuses, it refuses in one line that can be printed."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=e) for e in ("strict", "backslashreplace")
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as error:
            code = error.code
    err.flush()
    told = err.buffer.getvalue().decode()
    assert code in (0, 1, 2), code
    if code == 1 and arguments[0] == "report" and not told:
        return  # it was drawn, and says which cells failed
    if code:
        assert told.startswith("bench: ") and told.endswith("\n"), told[:500]
        assert code == 2 or arguments[0] != "plan", told[:500]
        one_line(told[:-1])
