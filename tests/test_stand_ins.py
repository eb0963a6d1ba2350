"""Phantoms in the place of all data: which, how many, where, and that nothing else is read."""

import pytest
from small_protocol import BASE, NAME

from bench import registry, run, stand_ins
from bench.arguments import parser
from bench.cli import main
from bench.errors import BenchError
from bench.phantoms import synthetic
from bench.protocol import read

MIXED = {  # a paper's mixture, whose lists name more than there is; one row reads another
    "rows": {
        "other": {"method": "simclr3d", "network": "net", "pretrain": {"mixture": "pgl_1808_ct"}}
    },
    "pretrain": {"mixture": "voco_1600_ct", "datasets": [], "recipe": "default"},
    "finetune": {"fractions": [100], "seeds": [0]},
}
SCRATCH = {"rows": {"pair": None}, "pretrain": None, "baseline": "none"}


@pytest.fixture
def made(protocol_file, tmp_path):
    """Return a function from changes of several protocols to their plan on phantoms."""

    def plan(*changes, make=True):
        files = [protocol_file(change, f"p{i}.yaml") for i, change in enumerate(changes)]
        request = run.Request(tuple(files), tmp_path / "out", phantoms=True)
        return run.make_plan(request, request.read(), need_data=make)

    return plan


def test_a_protocol_reads_its_sections_and_the_mixtures_of_its_rows(protocol_file):
    found = stand_ins.read_by(read(protocol_file(MIXED)))
    parts = ["msd08_hepatic_vessel", "msd10_colon", "msd07_pancreas", "msd06_lung"]
    assert found == [NAME, "btcv", "covid19_ct", "luna16", "ribfrac", *parts]
    narrowed = {**MIXED, "rows": {"other": None}}
    assert stand_ins.read_by(read(protocol_file(narrowed))) == found[:4]
    alone = {"rows": {"pair": None}, "baseline": "none"}  # a pretraining that nobody asks for
    assert stand_ins.read_by(read(protocol_file(alone))) == [NAME]


def test_phantoms_stand_in_for_all_and_lists_name_more_than_there_is(made, tmp_path):
    plan = made({**MIXED, "rows": {}})
    folders = sorted(folder.name for folder in (tmp_path / "out" / "phantoms").iterdir())
    assert folders == ["btcv-30-0", "covid19_ct-12-0", "luna16-12-0", f"{NAME}-36-0"]
    assert all(synthetic.is_synthetic(tmp_path / "out" / "phantoms" / name) for name in folders)
    assert not plan.provisional and {*plan.roots} == {NAME, "btcv", "covid19_ct", "luna16"}
    (spec,) = (job.spec for job in plan.jobs.values() if job.kind == "pretrain")
    assert [entry.list for entry in spec.data] == ["voco_ssl", "swin_unetr_ssl", "swin_unetr_ssl"]
    phantoms = tmp_path / "out" / "phantoms"
    before = {path: path.stat().st_mtime_ns for path in phantoms.rglob("*")}
    # shared, and used again
    again = made({**MIXED, "rows": {}}, {**MIXED, "rows": {}, "name": "two"})
    assert {*plan.jobs} <= {*again.jobs}
    assert before == {path: path.stat().st_mtime_ns for path in phantoms.rglob("*")}


def test_no_data_of_this_machine_is_read_and_a_plan_writes_none(
    made, phantoms, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("BENCH_DATA", str(phantoms))
    assert made({}, make=False).provisional and not (tmp_path / "out").exists()
    (root,) = made({}).roots.values()
    assert root == str(tmp_path / "out" / "phantoms" / f"{NAME}-36-0")
    assert made({}, make=False).roots == {NAME: root}  # what is there is planned with
    message = "--phantoms reads only synthetic cases; leave --data or --phantoms out"
    with pytest.raises(BenchError, match=message):
        run.Request((), tmp_path, data=phantoms, phantoms=True)
    path = str(tmp_path / "p0.yaml")
    assert main(["plan", path, "--phantoms", "--data", str(phantoms)]) == 2
    assert main(["plan", path, "--phantoms", "--out", str(tmp_path / "out")]) == 0
    assert "provisional" not in capsys.readouterr().out
    assert parser().parse_args(["run", "p.yaml"]).phantoms is False


def test_a_protocol_may_ask_for_more_cases_and_a_data_set_without_phantoms_is_refused(made):
    (root,) = made({"phantoms": {NAME: {"cases": 40, "seed": 3}}}, {"name": "two"}).roots.values()
    assert root.endswith(f"{NAME}-40-3")
    with pytest.raises(BenchError, match="'msd04_hippocampos'; did you mean 'msd04_hippocampus'"):
        made({"finetune": [{**BASE["finetune"][0], "dataset": "msd04_hippocampos"}]})


def test_of_two_protocols_numbers_of_cases_the_largest_counts(protocol_file, tmp_path):
    asked = [{"phantoms": {NAME: {"cases": cases}}, "name": f"p{cases}"} for cases in (40, 20)]
    files = tuple(protocol_file(change, f"{change['name']}.yaml") for change in asked)
    for order in (files, files[::-1]):
        request = run.Request(order, tmp_path / "out")
        (root,) = run.make_plan(request, request.read(), need_data=True).roots.values()
        assert root.endswith(f"{NAME}-40-0")


@pytest.mark.parametrize("split", ["btcv/unetr_24_6", "btcv/pgl_15_15", "mmwhs/ct_voco_16_4"])
def test_short_registered_splits_are_whole_in_as_many_as_there_are(split, made):
    dataset, _, name = split.partition("/")
    section = {"dataset": dataset, "split": name, "recipe": "default", "steps": 1}
    plan = made({**SCRATCH, "finetune": [section]})
    assert not plan.provisional and plan.cells["p0"]


@pytest.mark.parametrize("name", ["lasc", NAME])
def test_the_rule_tests_five_of_as_many_as_there_are(name, made):
    section = {"dataset": name, "split": "rule", "steps": 1}
    plan = made({**SCRATCH, "finetune": [section]})
    assert not plan.provisional and registry.load("dataset", name).phantoms == 36
