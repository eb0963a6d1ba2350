"""Scores against a pretraining's steps and cases: which rows make one line, and where its points lie."""

import pytest

from bench.protocol import Mix, Pretrain, Row
from bench.report.scaling import by_cases, by_steps
from bench.report.supplement import Extras, Pretraining
from bench.report.write import context_of

SECTION = Pretrain(datasets=(Mix("organs"),), steps=8, snapshots=(2, 4))


def pretraining(*rows, cases=10, steps=8):
    return Pretraining(
        rows, ("organs",), (cases, cases), (steps, steps), 2, "adamw", 0.1, "cosine", "fp32"
    )


def drawn(plots):
    """Return each plot's axis and its lines as title, scratch or not, points."""
    return [
        (p.x, [(s.title, s.baseline, list(zip(s.xs, s.means, strict=True))) for s in p.series])
        for p in plots
    ]


def test_snapshots_of_one_pretraining_are_one_line_and_scratch_is_level(protocol, records):
    rows = {
        "a": Row("scratch", "net", title="A"),
        "v2": Row("voco", "net", at=2, title="B @ 2"),
        "v4": Row("voco", "net", at=4, title="B @ 4"),
        "v": Row("voco", "net", title="B @ last"),
        "other": Row("mae3d", "net", title="Other"),
        "linear": Row("voco", "net", at=2, title="L", finetune={"evaluation": "decoder"}),
    }
    inits = {"a": "random", "v2": "job:1@2", "v4": "job:1@4", "v": "job:1", "other": "job:2"}
    inits["linear"] = inits["v2"]
    values = {"a": 0.5, "v2": 0.2, "v4": 0.4, "v": 0.8, "other": 0.9, "linear": 0.1}
    table = records(*({"row": r, "init": inits[r], "value": v} for r, v in values.items()))
    extras = Extras(pretrainings=(pretraining("v2", "v4", "v", "linear"), pretraining("other")))
    context = context_of(protocol(rows=rows, pretrain=SECTION), table, extras)
    assert drawn(by_steps(context)) == [
        (
            "Pretraining step",
            [("A", True, [(2, 50), (8, 50)]), ("B", False, [(2, 20), (4, 40), (8, 80)])],
        )
    ]
    assert by_cases(context) == ()


@pytest.mark.parametrize(("other", "drawn_at"), [({}, [(2, 30), (10, 60)]), ({"batch": 8}, None)])
def test_pretrainings_that_differ_in_take_alone_are_one_line(protocol, records, other, drawn_at):
    rows = {
        "a": Row("scratch", "net", title="A"),
        "all": Row("voco", "net", title="B, all"),
        "few": Row("voco", "net", title="B, 20 %", pretrain={"take": "20 %", **other}),
    }
    values = {"a": 0.5, "few": 0.3, "all": 0.6}
    table = records(*({"row": r, "value": v, "init": f"job:{r}"} for r, v in values.items()))
    extras = Extras(
        titles={"voco": "B"}, pretrainings=(pretraining("all"), pretraining("few", cases=2))
    )
    context = context_of(protocol(rows=rows, pretrain=SECTION), table, extras)
    lines = [("A", True, [(2, 50), (10, 50)]), ("B", False, drawn_at)]
    assert drawn(by_cases(context)) == ([("Pretraining cases", lines)] if drawn_at else [])
    assert by_steps(context) == ()
