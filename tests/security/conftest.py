"""What the attacks share: jobs in this process, and a report of invented rows."""

import contextlib
import io
import os
from types import SimpleNamespace

import pytest
import reliability
import yaml
from described import inline
from small_protocol import NAME

from bench import record, registry
from bench.cli import main
from bench.executors import local
from bench.protocol import Finetune, Layout, Net, Protocol, Row

SECRET = "hunter2-3f9c"  # in each of these, as test_secrets looks for it
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "WANDB_API_KEY": SECRET,
    "HF_TOKEN": SECRET,
    "PIP_INDEX_URL": f"https://user:{SECRET}@pip.example/simple",
    "https_proxy": f"http://user:{SECRET}@proxy.example:8080",
    # what git would answer, had a clone been made from such an address
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "remote.origin.url",
    "GIT_CONFIG_VALUE_0": f"https://user:{SECRET}@git.example/bench.git",
}


@pytest.fixture(scope="session")
def attacked(tmp_path_factory):
    """Return a real run with hostile names in every place, secrets around it, under umask 002."""
    root = tmp_path_factory.mktemp("attacked")
    data, home, row = root / "data" / NAME, root / "home", "../../x\n; touch pwned"
    home.mkdir()
    registry.load("dataset", NAME).phantom(data, 9, 0)
    for folder in ("imagesTr", "labelsTr"):
        hostile = "-rf ~ ; $(touch pwned) \x1b[2J ..%2f\n.nii.gz"
        (data / folder / "hippocampus_001.nii.gz").rename(data / folder / hostile)
    (data / "dataset.json").unlink()
    value = yaml.safe_load(reliability.SMOKE.replace("steps: 40", "steps: 1"))
    value["rows"] = {row: {**value["rows"]["scratch"], "title": "<b>$x^{</b>\n../y"}}
    value["finetune"][0]["fractions"] = [100]
    value |= {"name": "attack", "title": "../../t\n", "table": "../../u"}
    value["pretrain"] = None
    path = root / "smoke.yaml"
    path.write_text(yaml.safe_dump(value))
    before, out = {*root.rglob("*")}, str(root / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(local, "run", inline)
        for key, secret in SECRETS.items():
            patch.setenv(key, secret)
        umask, told = os.umask(0o002), io.StringIO()
        try:
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                codes = [
                    main(["run", str(path), "--data", str(data.parent), "--out", out]),
                    main(["report", str(path), "--out", out, "--to", str(root / "to")]),
                ]
        finally:
            os.umask(umask)
    new = {p.relative_to(root).parts[0] for p in {*root.rglob("*")} - before}
    return SimpleNamespace(root=root, row=row, codes=codes, new=new, told=told.getvalue())


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Put a cluster's commands on PATH: sbatch keeps the script, srun writes down its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    bodies = dict.fromkeys(("squeue", "sacct", "scancel", "scontrol"), "")
    bodies["sbatch"] = f'cp "$1" "{tmp_path}/script-$$.sh"; echo Submitted batch job 7'
    bodies["srun"] = f'printf "%s\\0" "$@" > "{tmp_path}/srun.txt"'
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture
def report_of():
    """Return a function from one text to a protocol and rows in which every name is that text."""

    def made(text, **row):
        texts = dict.fromkeys(("title", "table", "about", "expected", "cost"), text)
        protocol = Protocol(
            **{"name": "attack", "paper": "voco", "scale": "pilot", "notes": (text,), **texts},
            networks={text: Net("swin_unetr"), "n": Net("unet3d")},
            rows={text: Row("scratch", text, {"k": text}, title=text), "b": Row("voco", "n")},
            finetune=(Finetune(dataset="organs", split=text, steps=10, fractions=(10, 100)),),
            layout=Layout(mean=text, groups={text: (text,)}),
        )
        stated = {"job": "0" * 16, "protocol": "attack", "paper": "voco", "scale": "pilot"}
        stated |= {"method": "scratch", "init": "random", "evaluation": "end_to_end"}
        stated |= {"dataset": "organs", "section": "organs", "task": "segmentation"}
        stated |= {"metric": "dice", "unit": "1", "convention": "medpy", "status": "ok"}
        numbers = {"pretrain_seed": 0, "n_train": 20, "fold": 0, "value": 0.5}
        base = {**dict.fromkeys(record.COLUMNS, text), **stated, **numbers, **row}
        rows = [
            {**base, "row": name, "fraction": f, "seed": s, "case": f"{text}{s}", "target": t}
            for name in (text, "b", f"{text} unknown to the protocol")
            for f in (10, 100)
            for s in (0, 1)
            for t in ("liver", text)
        ]
        return protocol, record.frame(rows)

    return made
