"""A plan as a file: read back it is the same plan, and what is not its own is refused."""

import json
from dataclasses import fields

import pytest
from small_protocol import NAME

from bench.errors import BenchError
from bench.plan import stored
from bench.plan.dag import Plan

CHANGES = {
    "finetune": [
        {
            "dataset": NAME,
            "split": "even",
            "fractions": [25, 100],
            "seeds": [0],
            "steps": 6,
            "hold": "steps",
        }
    ],
    "embeddings": {"samples": 4},
}

OF_VOLUMES = {  # the plan looks at the sizes of its scans
    "rows": {"pair": {"method": "voco", "params": {"grid": [1, 2, 1]}}},
    "pretrain": {"crop": [16, 16, 16]},
}


@pytest.mark.parametrize("changes", [None, CHANGES, {"metrics": ["dice", "latency"]}, OF_VOLUMES])
def test_a_plan_read_back_is_the_same(plan_of, tmp_path, changes):
    plan, file = (
        plan_of(changes, others=[{"name": "two"}], sets=("finetune.steps=7",)),
        tmp_path / "plan.json",
    )
    file.write_text(stored.as_text(plan))
    again = stored.read(file)
    assert list(again.jobs) == list(plan.jobs) and again.jobs == plan.jobs
    for name in set(vars(plan)) - {"jobs", "files"}:
        assert getattr(again, name) == getattr(plan, name), name
    assert bool(plan.volumes) is (changes is OF_VOLUMES)
    assert again.wanted() == plan.wanted() and stored.as_text(again) == stored.as_text(plan)


def test_a_plan_has_no_field_that_json_cannot_hold():
    assert [field.name for field in fields(Plan) if "set[" in str(field.type)] == []


def other_version(text):
    found = json.loads(text)
    first = next(iter(found["jobs"]))
    return json.dumps({**found, "jobs": {"0" * 16: found["jobs"][first]}})


WRONG = {
    "cut": (lambda text: text[:-9], "cannot be read"),
    "no object": (lambda text: "[]", "cannot be read"),
    "another key": (lambda text: json.dumps({**json.loads(text), "more": 1}), "unknown key 'more'"),
    "another kind": (
        lambda text: text.replace('"kind": "prepare"', '"kind": "pay"'),
        "no kind of job",
    ),
    "another version": (other_version, "another version of bench"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_plan_of_this_version_is_refused_in_one_line(plan_of, tmp_path, wrong):
    change, said = WRONG[wrong]
    file = tmp_path / "plan.json"
    file.write_text(change(stored.as_text(plan_of())))
    with pytest.raises(BenchError, match=said) as error:
        stored.read(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(BenchError, match="cannot be read"):
        stored.read(tmp_path / "none.json")
