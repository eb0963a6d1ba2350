"""Tables of patients and cases: three separators, two kinds of names, and what is refused."""

from __future__ import annotations

import re

import pytest
from one_line import refused

from bench.data import participants
from bench.dataset import Case

CASES = [("p1_a", "p1"), ("p1_b", "p1"), ("p2", "p2"), ("p3", "sub-3")]


def read(tmp_path, text, name="people.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return participants.read(path)


@pytest.mark.parametrize(
    "text",
    [
        "id,sex,site\np1,F,a\np2,M,\nsub-3,M,b\n",
        '\ufeff"id";"sex";"site"\r\n"p1";"F";"a"\r\n\r\n"p2";"M";"n/a"\r\n"3";" M ";"b"\r\n',
        "participant_id\tsex\tsite\nsub-p1\tF\ta\nsub-p2\tM\tn/a\nsub-3\tM\tb\n",
        "case,sex,site\np1_a,F,a\np1_b,F,a\np2,M,n/a\np3,M,b\nelse,M,c\n",  # names of cases
    ],
)
def test_groups_of_patients_by_column(tmp_path, text):
    groups = read(tmp_path, text).groups(CASES, ("sex", "site"))
    assert groups == {
        "p1": {"sex": "F", "site": "a"},
        "p2": {"sex": "M"},
        "sub-3": {"sex": "M", "site": "b"},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,sex\np1,F\n", "people.csv: no column named 'site'; known: sex"),
        ("id,sex,sites\np1,F,a\n", "no column named 'site'; did you mean 'sites'?"),
        ("id,site\np1\n", "people.csv:2: 1 entries, the first line has 2; separate them by commas"),
        ("id,site\np1_a,x\np1_b,y\n", "patient 'p1' has cases of site 'x' and 'y'"),
        ("id,site\np1,x\np1,y\n", "people.csv:3: 'p1' is listed twice, with different entries"),
        ("id,site\nq1,x\n", "of the data set .first patient 'p1', first name in the table 'q1'."),
        ("id,site\n", "has no value for any of the 3 patients"),
        ("", "no column named 'site'; none is known here"),
        (b"id,site\np1,\x00" + b"x" * 200000 + b"\n", "people.csv:2: is not a valid CSV file"),
    ],
)
def test_what_makes_no_groups_is_refused_in_a_line(tmp_path, text, says):
    with refused(says):
        read(tmp_path, text).groups(CASES, ("site",))


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with refused(re.escape(f"{path}: ") + ".*; name a CSV file"):
            participants.read(path)


def test_what_a_data_set_says_itself():
    cases = [Case("sub-1", "sub-1", (), 0, {"vendor": "A"}), Case("2", "2", (), 0, {"vendor": ""})]
    listed = participants.of_grouping("", None, "x", cases)
    assert listed.groups([("sub-1", "sub-1"), ("2", "2")], ("vendor",)) == {
        "sub-1": {"vendor": "A"},
        "2": {},
    }
    with refused("data set 'x': no column named 'sex'; known: vendor"):
        listed.groups([("2", "2")], ("sex",))
