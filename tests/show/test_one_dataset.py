"""``bench list datasets NAME``: what is declared, and how large the parts of each split are here."""

import json
import shutil

import pytest
from small_protocol import NAME

from bench.cli import main

EVEN = {"train": 14, "val": 2, "test": 4}  # of 20 patients: a fifth, a tenth, the rest


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        assert main(["list", *map(str, arguments)]) == code
        told = capsys.readouterr()
        return told.err if code else told.out

    return run


def test_one_data_set_is_told_with_its_parts_on_this_machine(say, phantoms):
    found = json.loads(say("datasets", NAME, "--data", phantoms, "--json"))
    assert (found["cases"], found["patients"], found["labelled"]) == (20, 20, 20)
    assert found["folder"] == str(phantoms / NAME) and found["labels"] == {
        "1": "anterior",
        "2": "posterior",
    }
    assert found["parts"]["even"] == [EVEN]
    assert found["parts"]["cv5"] == [{"train": 16, "val": 0, "test": 4}] * 5
    assert "default" in found["recipes"] and found["recipes"]["resize"]["resize"]
    lines = [line.split() for line in say("datasets", NAME, "--data", phantoms).splitlines()]
    assert ["even", "1", "14", "2", "4"] in lines and ["cv5", "5", "16", "0", "4"] in lines


def test_a_folder_of_ones_own_is_told_likewise_and_a_split_that_cannot_be_says_why(
    say, phantoms, tmp_path
):
    mine = tmp_path / "data" / "mine"
    shutil.copytree(phantoms / NAME, mine)
    for path in [*sorted(mine.glob("*Tr/*"))][::2]:
        path.unlink()
    listing = json.loads((mine / "dataset.json").read_text())
    (mine / "dataset.json").write_text(json.dumps({**listing, "training": []}))
    found = json.loads(say("datasets", "mine", "--data", tmp_path / "data", "--json"))
    assert found["cases"] == 10 and found["parts"]["even"] == [{"train": 7, "val": 1, "test": 2}]
    assert "use 'split: " in found["parts"]["rule"]


def test_without_data_registered_lists_are_told_all_the_same(say):
    found = json.loads(say("datasets", "btcv", "--json"))
    assert found["folder"] is None and found["parts"]["unetr_24_6"] == [
        {"train": 24, "val": 0, "test": 6}
    ]
    assert found["parts"]["even"] == "computed from the patients that are there"
    text = say("datasets", "btcv")
    assert "not found on this machine" in text and found["unpack"] in text


WRONG = {
    ("metrics", "dice"): "takes no NAME",
    ("datasets", "btvc"): "did you mean 'btcv'",
    ("datasets", "--data", "."): "only 'bench list datasets NAME' has this flag",
}


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_what_cannot_be_listed_is_one_line(say, arguments):
    said = say(*arguments, code=2)
    assert WRONG[arguments] in said and said.count("\n") == 1
