"""What happens to runs on clusters, made on a real one: the quick ones of ``faults.py``."""

import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
from daemons import wait
from harm import FAULTS
from smoke import KEYS, Smoke, table
from trial import Trial

pytestmark = pytest.mark.slurm


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.quick])
def test_a_run_ends_with_the_same_records_after(name, trial):
    FAULTS[name].make(trial)
    trial.check()


# What the trials look at


@pytest.mark.parametrize(
    ("found", "lost"),
    [([1.0, None], 0), ([1.0, 2.0], 1), ([1.0], 1), ([3.0, 2.0], 2), ([1.0, None, 5.0], 1)],
)
def test_a_record_that_differs_is_counted_as_lost(tmp_path, found, lost):
    for name, values in {"undisturbed": [1.0, None], "out": found}.items():
        (tmp_path / name / "records").mkdir(parents=True)
        key = dict.fromkeys(KEYS, "x")
        rows = [{**key, "case": str(n), "value": v} for n, v in enumerate(values)]
        pd.DataFrame(rows).to_parquet(tmp_path / name / "records" / "smoke.parquet")
    smoke = Smoke(tmp_path / "smoke.yaml", (), table(tmp_path / "undisturbed"))
    assert smoke.lost(tmp_path / "out") == lost
    assert smoke.lost(tmp_path / "none") == 2


def test_a_job_that_is_published_twice_is_seen(tmp_path):
    idle = SimpleNamespace(daemons=SimpleNamespace(tasks=list), ask=lambda *command: None)
    trial = Trial(idle, None, tmp_path)
    try:
        for number in range(2):
            made = tmp_path / f"attempt-{number}"
            made.mkdir()
            (made / "manifest.json").write_text(json.dumps({}))
            (made / "log.txt").write_text("2026-01-01 00:00:00  done in 1.0 s\n")
            shutil.rmtree(trial.out / "jobs", ignore_errors=True)
            (trial.out / "jobs").mkdir(parents=True)
            made.rename(trial.out / "jobs" / "a")
            assert wait(lambda n=number: len(trial.published.get("a", ())) == n + 1, 5)
            assert trial.twice() == number
    finally:
        trial.close()
