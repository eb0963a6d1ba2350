"""Invented protocols and records; no number here comes from any run."""

from dataclasses import replace

import pandas as pd
import pytest

from bench import record
from bench.protocol import Finetune, Net, Protocol, Row


def row_of(**given):
    """One record with everything filled in, ``given`` over it."""
    base = {
        "job": "0" * 16,
        "protocol": "test_table",
        "paper": "voco",
        "table": "table1",
        "scale": "pilot",
        "row": "a",
        "method": "scratch",
        "network": "net",
        "params": "{}",
        "pretrain": "none",
        "pretrain_seed": 0,
        "init": "random",
        "evaluation": "end_to_end",
        "dataset": "organs",
        "section": "",
        "task": "segmentation",
        "split": "even",
        "split_hash": "5p1it",
        "fraction": 100,
        "n_train": 20,
        "fold": 0,
        "seed": 0,
        "case": "c1",
        "patient": "p1",
        "target": "liver",
        "metric": "dice",
        "value": 0.5,
        "unit": "1",
        "convention": "medpy",
        "status": "ok",
    }
    full = {**base, **given}
    return {
        **full,
        "section": given.get("section", full["dataset"]),
        "patient": given.get("patient", full["case"] and f"patient of {full['case']}"),
    }


@pytest.fixture(scope="session")
def records():
    """Return a function from partial rows to a table of records."""
    return lambda *rows: record.frame([row_of(**r) for r in rows])


@pytest.fixture
def printed():
    """Return a function from partial lines to a table of what a paper printed."""
    base = {
        "paper": "voco",
        "table": "table1",
        "method": "VoCo",
        "network": "",
        "pretrain": "",
        "dataset": "organs",
        "target": "Liver",
        "fraction": "100",
        "metric": "dice",
        "value": "83.85",
        "unit": "%",
        "dagger": "",
        "note": "",
    }
    return lambda *lines: pd.DataFrame([{**base, **line} for line in lines])


@pytest.fixture(scope="session")
def protocol():
    """Two rows on one data set at pilot scale, changed by keyword."""
    names = {"title": "Test table", "name": "test_table", "paper": "voco", "table": "table1"}
    rows = {"a": Row("scratch", "net", title="A"), "b": Row("voco", "net", title="B")}
    networks = {"net": Net("swin_unetr")}
    target = Finetune(dataset="organs", split="even", steps=10)
    base = Protocol(**names, scale="pilot", networks=networks, rows=rows, finetune=(target,))
    return lambda **changes: replace(base, **changes)
