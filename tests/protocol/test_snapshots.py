"""``at`` over a list: a row for each snapshot, all of one pretraining."""

import pytest
from one_line import refused

from bench.protocol import read


@pytest.mark.parametrize("stated", [[], [4], [2, 4, 6]])
def test_a_row_becomes_one_for_each_step_and_they_share_a_pretraining(
    protocol_file, plan_of, stated
):
    changes = {
        "pretrain": {"snapshots": stated},
        "rows": {"pair": {"at": [2, 4, "last"]}},
        "layout": {"groups": {"All": ["alone", "pair"]}},
        "finetune": {"fractions": [100], "seeds": [0]},
    }
    protocol = read(protocol_file(changes))
    names = ["pair @ 2", "pair @ 4", "pair @ last"]
    assert list(protocol.rows) == ["alone", *names]
    assert [protocol.rows[name].at for name in names] == [2, 4, None]
    assert [protocol.rows[name].title for name in names] == [
        "SimCLR @ 2",
        "SimCLR @ 4",
        "SimCLR @ last",
    ]
    assert protocol.layout.groups == {"All": ("alone", *names)}
    plan = plan_of(changes)
    (pretrain,) = {c.pretrain for c in plan.cells["test0"] if c.pretrain}
    assert plan.jobs[pretrain].spec.pretrain.snapshots == ((2, 4) if len(stated) < 2 else (2, 4, 6))
    inits = {c.row: c.columns["init"] for c in plan.cells["test0"]}
    assert [inits[name] for name in names] == [f"job:{pretrain}{at}" for at in ("@2", "@4", "")]


@pytest.mark.parametrize("at", [[], ["end"], [0], [4, 4], [4.5], [True]])
def test_what_is_no_list_of_steps_is_refused(protocol_file, at):
    with refused(r"rows\.pair\.at: list steps, each once, and 'last' for the end"):
        read(protocol_file({"rows": {"pair": {"at": at}}}))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"pair": {"at": [2, 4], "pretrain": "soon"}}, r"pretrain: expected"),
        ({"pair": {"at": [2, 4], "pretrain": {"snapshots": ["2"]}}}, r"snapshots"),
        (
            {"pair": {"at": [2, "last"]}, "pair @ 2": {"method": "simclr3d", "network": "net"}},
            "is already the name of a row",
        ),
        ({"alone": {"at": [2, 4]}}, r"rows\.alone\.at: method 'scratch' is not pretrained"),
        ({"alone": {"at": 4}}, r"rows\.alone\.at: method 'scratch' .* not pretrained"),
    ],
)
def test_what_such_a_row_cannot_say_is_one_line(protocol_file, rows, said):
    with refused(said):
        read(protocol_file({"rows": rows}))


def test_a_mistake_in_such_a_row_is_told_at_its_line(protocol_file):
    path = protocol_file({"rows": {"pair": {"at": [2, 4], "methot": "x"}}})
    (line,) = (n for n, text in enumerate(path.read_text().splitlines(), 1) if "methot" in text)
    with refused(rf"test\.yaml:{line}: .*methot: unknown key 'methot'"):
        read(path)
