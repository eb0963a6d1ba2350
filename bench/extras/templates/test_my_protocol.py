"""My protocol can be planned as it stands, and its table is a mean over patients, then over seeds."""

from pathlib import Path

import pandas as pd

from bench.cli import main

HERE = Path(__file__).parent


def test_it_can_be_planned_at_every_scale(tmp_path, capsys):
    for scale in ("paper", "smoke"):
        assert (
            main(["plan", str(HERE / "my_protocol.yaml"), "--scale", scale, "--out", str(tmp_path)])
            == 0
        )
    assert "pretrain" in capsys.readouterr().out


def test_the_table_is_a_mean_over_patients_then_over_seeds(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    from my_protocol import table

    found = [(0, "a", 0.2), (0, "a", 0.4), (0, "b", 0.9), (1, "a", 1.0)]
    rows = pd.DataFrame(found, columns=["seed", "patient", "value"])
    rows = rows.assign(row="one", fraction=100, metric="dice", status="ok")
    assert abs(table(rows).loc["one", 100] - ((0.3 + 0.9) / 2 + 1.0) / 2) < 1e-9
