"""Invented protocols and records; no number here comes from any run."""

from dataclasses import replace

import pandas as pd
import pytest
from invented import row_of

from bench import record
from bench.protocol import Finetune, Net, Protocol, Row


@pytest.fixture(scope="session")
def records():
    """Return a function from partial rows to a table of records."""

    def row(dataset="organs", case="c1", **given):
        table = {"protocol": "test_table", "paper": "voco", "table": "table1", "section": dataset}
        table |= {"patient": case and f"patient of {case}", "dataset": dataset, "case": case}
        return row_of(**table | given)

    return lambda *rows: record.frame([row(**r) for r in rows])


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
