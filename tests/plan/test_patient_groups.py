"""``groups:`` of a protocol: from a data set or a file to the report, refused before anything runs."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from one_line import refused
from small_protocol import NAME, PATIENTS, TEST, ids

from bench.cli import main

FILE = {"groups": {NAME: {"by": ["sex"], "file": "people.csv"}}}
STATED = {"groups": {NAME: {"by": ["sex"]}}}
HEADING = "Do scores differ between groups of patients?"


def people(path, patients=PATIENTS, separator=","):
    lines = [separator.join((name, "FM"[n % 2])) for n, name in enumerate(patients)]
    path.write_text("\n".join([f"id{separator}sex", *lines, ""]))


def test_no_job_depends_on_groups(plan_of, tmp_path):
    people(tmp_path / "people.csv")
    assert ids(plan_of()) == ids(plan_of(FILE))


@pytest.mark.parametrize(
    ("changes", "text", "says"),
    [
        (
            {"by": ["sx"]},
            None,
            r"test0.yaml:\d+: groups.msd04_hippocampus.by: .*'sx'; did you mean 'sex'",
        ),
        ({"file": "none.csv"}, None, "none.csv: No such file or directory; name a CSV file"),
        ({}, "id,sex\nsomebody,F\n", "has no value for any of the 20 patients"),
        ({"by": []}, None, "'by' is empty"),
        ({"file": ""}, None, "data set 'msd04_hippocampus': no column named 'sex'; known: part"),
    ],
)
def test_what_a_report_could_not_group_is_refused_by_the_plan(
    plan_of, tmp_path, changes, text, says
):
    people(tmp_path / "people.csv")
    if text:
        (tmp_path / "people.csv").write_text(text)
    with refused(says):
        plan_of({"groups": {NAME: FILE["groups"][NAME] | changes}})


def test_a_data_set_that_no_section_tests_is_refused(plan_of):
    with refused("no data set of this protocol named 'msd04_hipo'"):
        plan_of({"groups": {"msd04_hipo": {"by": ["sex"]}}})


def test_without_data_the_columns_of_a_file_are_looked_at(plan_of, tmp_path):
    people(tmp_path / "people.csv")
    assert plan_of(FILE, data=None).provisional
    with refused("no column named 'site'"):
        plan_of({"groups": {NAME: {"by": ["site"], "file": "people.csv"}}}, data=None)


@pytest.mark.usefixtures("inlined", "undrawn")
def test_a_run_groups_by_the_data_set_and_a_report_by_a_file(
    protocol_file, phantoms, tmp_path, capsys
):
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(phantoms / NAME, data / NAME)
    people(data / NAME / "participants.tsv", [p for t in TEST for p in (t,)], "\t")
    section = {"dataset": NAME, "split": "even", "evaluation": "probe", "seeds": [0]}
    small = {"name": "test", "rows": {"pair": None}, "finetune": [section | {"fractions": [100]}]}
    file = protocol_file(small | STATED)
    assert main(["run", str(file), "--data", str(data), "--out", str(out)]) == 0
    page = out / "reports" / "test" / "table.md"
    assert HEADING in page.read_text() and re.search(
        r"\(2\) \|.*\(2\) \|.*too few", page.read_text()
    )
    stated = json.loads((out / "records" / "test.json").read_text())["groups"][NAME]
    assert {who: of["sex"] for who, of in stated.items()} == dict(zip(TEST, "FMFM", strict=True))
    # without the data what the run read is there, in place of a file that is gone, too
    shutil.rmtree(data)
    before = page.read_text()
    page.unlink()
    by_file = {NAME: {"by": ["sex"], "file": str(tmp_path / "people.csv")}}
    protocol_file(small | {"groups": by_file})
    assert main(["report", str(file), "--out", str(out)]) == 0
    lines = page.read_text().splitlines(keepends=True)
    later = [line for line in lines if "drawn from a later text" in line]
    assert "changed: groups.msd04_hippocampus" in "".join(later)
    assert "".join(line for line in lines if line not in later) == before
    # and so it is in a bundle, which reads no file of this machine
    people(tmp_path / "people.csv", TEST[:2])
    zipped, drawn = tmp_path / "test.bench.zip", tmp_path / "drawn"
    assert main(["bundle", str(file), "--out", str(out), "--to", str(zipped)]) == 0
    assert main(["report", str(zipped), "--to", str(drawn)]) == 0
    assert "without an entry" not in (drawn / "table.md").read_text()
    assert HEADING in (drawn / "table.md").read_text()
    # a file that is there wins, and tells who has no group
    people(tmp_path / "people.csv", TEST[:3])
    assert main(["report", str(file), "--out", str(out)]) == 0
    assert "1 of 4 patients without an entry in sex" in page.read_text()
    (tmp_path / "people.csv").write_text("id,gender\nsomebody,F\n")
    capsys.readouterr()
    assert main(["report", str(file), "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
