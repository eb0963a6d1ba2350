"""Mixtures by name: read strictly, spelled out, replaced as a whole by an override."""

import pytest
from one_line import refused

from bench.protocol import mixture, pretrain_of, read
from bench.protocol.sections import Mix, Pretrain

TEXT = """
title: Two
source: "A paper, Table 1"
groups: {"0": heart}
expected_cases: 30
datasets:
  - {dataset: msd04_hippocampus, cases: all, take: 4 cases, task: 1, group: 0}
  - {dataset: mmwhs, where: {modality: CT}, recipe: coarse}
"""


@pytest.fixture
def mixtures(tmp_path, monkeypatch):
    (tmp_path / "mixtures").mkdir()
    (tmp_path / "mixtures" / "two.yaml").write_text(TEXT)
    folder = mixture.registry.folder
    monkeypatch.setattr(
        mixture.registry, "folder", lambda kind: tmp_path if kind == "dataset" else folder(kind)
    )
    mixture.mixture.cache_clear()
    yield tmp_path / "mixtures"
    mixture.mixture.cache_clear()


@pytest.mark.parametrize(
    ("stated", "recipes"), [(None, ("default", "coarse")), ("resize", ("resize", "resize"))]
)
def test_it_is_spelled_out_and_a_stated_recipe_wins(mixtures, stated, recipes):
    section = Pretrain(mixture="two", recipe=stated, steps=1)
    assert mixture.parts(section) == (
        Mix("msd04_hippocampus", "all", recipes[0], take="4 cases", task=1, group=0),
        Mix("mmwhs", "train", recipes[1], where={"modality": "CT"}),
    )


def test_an_entry_of_the_protocols_own_keeps_the_recipe_that_it_states():
    own = (Mix("mmwhs", recipe="coarse"), Mix("lasc"))
    for stated, other in ((None, "default"), ("resize", "resize")):
        found = mixture.parts(Pretrain(datasets=own, recipe=stated, steps=1))
        assert [m.recipe for m in found] == ["coarse", other]


def test_a_mixture_has_a_title_and_what_is_expected_of_it(mixtures):
    section = Pretrain(mixture="two", steps=1)
    assert mixture.title(section) == "two"
    assert mixture.title(Pretrain(mixture="two", take="20 %", steps=1)) == "two (20 %)"
    assert mixture.title(Pretrain(mixture="two", name="mine", take="20 %", steps=1)) == "mine"
    assert mixture.mixture("two").expected_cases == 30


def test_an_unknown_name_data_stated_twice_and_a_wrong_file_are_refused(mixtures, protocol_file):
    path = protocol_file({"pretrain": {"mixture": "twoo", "datasets": []}})
    with refused(r"test\.yaml:\d+: pretrain\.mixture: .*did you mean 'two'"):
        read(path)
    for given in ({"mixture": "two"}, {"datasets": []}):
        with refused("either 'datasets' or 'mixture'"):
            read(protocol_file({"pretrain": given}))
    with refused("leave out 'cases: all' and list"):
        read(
            protocol_file(
                {"pretrain": {"datasets": [{"dataset": "a", "split": "even", "cases": "all"}]}}
            )
        )
    (mixtures / "two.yaml").write_text(TEXT.replace("take: 4 cases", "take: some"))
    with refused(r"two\.yaml:7: datasets.0: take is a number of cases or percent"):
        mixture.mixture("two")


def test_what_a_scale_or_a_row_states_replaces_the_other(mixtures, protocol_file):
    rows = {"pair": {"pretrain": {"mixture": "two"}}}
    scales = {"smoke": {"pretrain": {"mixture": "two", "take": "1 cases"}}}
    path = protocol_file({"rows": rows, "scales": scales})
    paper, smoke = read(path), read(path, "smoke")
    assert paper.pretrain.datasets and not paper.pretrain.mixture
    assert pretrain_of(paper, paper.rows["pair"], 0).mixture == "two"
    assert smoke.pretrain.mixture == "two" and not smoke.pretrain.datasets
    back = {"pretrain": {"datasets": [{"dataset": "btcv"}]}}
    other = protocol_file(
        {"scales": {"smoke": back}, "pretrain": {"datasets": [], "mixture": "two"}}
    )
    assert read(other, "smoke").pretrain.mixture == ""
