"""Protocols, ``bench.toml`` and what the command line lays over them, up to the printed plan."""

import contextlib
import io
import sys
from pathlib import Path

import draws
import torch  # noqa: F401 - planning a method imports it, which is no execution's time
from hypothesis import strategies as st
from target import Folder, one_line, tried

from bench.cli import main
from bench.protocol import SCALES, read

ROOT = Path(__file__).resolve().parents[2]
KEYS = """
finetune.optimiser.lr finetune.steps finetune.batch finetune.fraction pretrain.steps seed
pretrain.optimiser.betas pretrain.snapshots pretrain.schedule pretrain.precision network.crop
network.preset network.network method.params.temperature method.name recipe.window init x
recipe.scale recipe.spacing inference.batch data.fraction finetune . a..b weights
finetune.optimiser.lr.x finetune.select finetune.augment.flip finetune.inference.overlap
"""
PATHS = ("", *KEYS.split())
WORDS = ("[16, 16, 16]", "best_test", "tiny", "base", "[[[[", "1e-3", "[nan, inf]", "unetr", "bf16")
VALUES = draws.scalars.map(str) | st.sampled_from((*draws.YAML, *WORDS))
SELECTED = "method=scratch row=scratch seed=0 fraction=100 fraction=x seed= = a=b network=unet3d"
ONLY = (*SELECTED.split(), "row=\ud800", "method=" + "x" * 5000)
TOML = (
    '[data]\nmsd04_hippocampus = "nowhere"\n',
    '[data]\na = "~nobody/x"\n',
    "data = 1\n",
    "[data]\na = 1\n",
    '[data]\nmsd04_hippocampus = "\\u0000"\n',
    '[data]\nmsd04_hippocampus = "bench.toml"\n',
    "[data.a.b]\n",
    '[data]\nmsd04_hippocampus = "' + "x" * 5000 + '"\n',
    "a = " + "[" * 5000,
    "a = " + "9" * 5000 + "\n",
)
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


class Protocols(Folder):
    """Every protocol of the project and a small one with every section, at every scale, planned."""

    def make(self):
        sys.path.insert(0, str(ROOT))
        (self.folder / "small.yaml").write_text(SMALL)
        for path in (ROOT / "protocols").rglob("*.yaml"):
            (self.folder / f"all-{path.name}").write_bytes(path.read_bytes())

    def group(self, path):
        return path.name[:3]

    def read(self, draw, path):
        how = draw(st.integers(0, 9))
        if how == 9:
            path.write_bytes(self.files[path])
        scales = draw(st.permutations((None, *SCALES)))[:2]
        good = [scale for scale in scales if tried(read, path, scale) is not None]
        if not good:
            return
        arguments = ["plan", str(path), "--out", str(self.folder / "out")]
        arguments += ["--scale", good[0]] if good[0] else []
        arguments += ["--json"] * draw(st.booleans())
        for _ in range(draw(st.integers(1, 2)) if how > 6 else 0):
            arguments.append(f"--set={draw(st.sampled_from(('', *PATHS)))}={draw(VALUES)}")
        if how == 6:
            arguments.append(f"--only={draw(st.sampled_from(ONLY))}")
        toml = self.folder / "bench.toml"
        if how == 5:
            raw = draw(st.sampled_from(TOML)).encode()
            toml.write_bytes(draw(draws.damaged(raw)) if draw(st.booleans()) else raw)
        try:
            command(arguments)
        finally:
            toml.unlink(missing_ok=True)


def command(arguments):
    """Run a command as a person would; what it refuses, it refuses in one line that can be printed."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=e)
        for e in ("strict", "backslashreplace")
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
