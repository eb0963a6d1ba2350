"""Damaged input of every kind ends in one line or is read: no other exception, hang, crash or flood."""

import json
import random
import subprocess
import sys
from pathlib import Path

import mutate
import mutate_yaml
import pytest
import run
import yaml

RUN = Path(run.__file__)
FAST = {
    "metaimage": 500,
    "nifti": 500,
    "nrrd": 500,
    "msd": 200,
    "protocol": 30,
    "records": 3,
    "checkpoints": 100,
}


def executed(target, *arguments):
    command = [sys.executable, str(RUN), "--target", target, "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-3000:]
    (result,) = json.loads(done.stdout)
    told = [f"--target {target} --seed {result['seed']} --first {n}: {kind}\n{text[-1500:]}"
            for n, kind, text in result["failures"][:3]]  # fmt: skip
    return result, "\n".join(told)


@pytest.mark.parametrize("target", run.TARGETS)
def test_damaged_input_is_refused_in_one_line_or_read(target):
    result, told = executed(target, "--count", str(FAST[target]))
    assert not result["failures"], told
    assert result["executions"] == FAST[target]


@pytest.mark.slow
@pytest.mark.parametrize("target", run.TARGETS)
def test_a_hundred_thousand_damaged_inputs_are_refused_in_one_line_or_read(target):
    result, told = executed(target, "--seed", "1")
    assert not result["failures"], told
    assert result["peak_mb"] - result["base_mb"] < 512


@pytest.mark.parametrize("how", ["crash", "hang", "slow", "memory", "warn", "wrong"])
def test_the_engine_sees(how, monkeypatch):
    monkeypatch.setitem(run.TARGETS, "bad", ("bad_target", "Bad"))
    monkeypatch.setattr(run, "HANG", 1.5 if how == "hang" else 20.0)
    monkeypatch.setenv("BENCH_FUZZ_BAD", how)
    found = run.run("bad", range(4), 0)["failures"]
    assert [n for n, _, _ in found] == [2]
    named = {"memory": "MemoryError", "warn": "UserWarning", "wrong": "KeyError"}
    assert found[0][1].startswith(named.get(how, how))


def test_equal_seeds_damage_equally_and_seldom_do_nothing():
    raw, plain = bytes(range(200)), {"a": {"b": [1, 2.5, "x"]}, "c": None}
    calls = (
        (mutate.damaged, (raw,)), (mutate.as_json, (plain,)), (mutate.zipped, (raw,)),
        (mutate_yaml.as_yaml, (plain, yaml.safe_dump(plain))),
    )  # fmt: skip
    for call, given in calls:
        made = [call(random.Random(seed), *given) for seed in range(200)]
        assert made == [call(random.Random(seed), *given) for seed in range(200)]
        assert len(set(made)) > 50, call
