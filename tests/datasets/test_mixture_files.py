"""What papers pretrain on: every file is read, names what is registered, and adds up to what it says."""

import json
import re

import pytest

from bench import registry
from bench.protocol import mixture

FOLDER = registry.folder("dataset") / "mixtures"
NAMES = mixture.names()
TASKS = (
    ("msd02_heart", 1),
    ("lits", 2),
    ("msd05_prostate", 3),
    ("msd07_pancreas", 2),
    ("msd09_spleen", 2),
    ("ski10", 4),
    ("acdc", 1),
    ("mnms", 1),
)  # HSSL, Table 1: tasks 1 to 8 and their groups


def sizes(name: str) -> int:
    """Cases of the lists that a mixture names."""
    files = [
        registry.load("dataset", m.dataset).lists[m.list] for m in mixture.mixture(name).datasets
    ]
    folder = registry.folder("dataset") / "splits"
    return sum(len(json.loads((folder / file).read_text())["cases"]["train"]) for file in files)


@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_names_registered_data_sets_lists_and_recipes(name):
    found = mixture.mixture(name)
    assert all((found.title, found.source, found.note))
    assert re.search(r"section", found.source)
    assert len({m.dataset for m in found.datasets}) == len(found.datasets)
    for entry in found.datasets:
        dataset = registry.load("dataset", entry.dataset)
        assert not entry.list or entry.list in dataset.lists
        assert entry.recipe is None or entry.recipe in dataset.recipes


@pytest.mark.parametrize("name", NAMES)
def test_where_names_what_the_cases_have(name, tmp_path):
    for entry in mixture.mixture(name).datasets:
        if entry.where:
            kind = registry.load("dataset", entry.dataset)
            kind.phantom(tmp_path / entry.dataset, 1, 0)
            meta = kind().cases(tmp_path / entry.dataset)[0].meta
            assert entry.where.items() <= meta.items()


def test_the_counts_that_papers_print():
    expected = {name: mixture.mixture(name).expected_cases for name in NAMES}
    assert expected["pgl_1808_ct"] == 660 + 443 + 190 + 420 + 95 == 1808
    assert expected["voco_1600_ct"] == sizes("voco_1600_ct") == 1589
    assert sizes("voco_no_luna") == sizes("glmae_ct") == 746
    assert expected["taleb_pancreas_420"] == 281 + 139
    assert expected["taleb_aptos_5590"] == 3662 + 1928
    assert (expected["taleb_ukb_brain"], expected["taleb_ukb_fundus"]) == (22_000, 170_000)
    assert expected["hssl_8_tasks"] is None  # it counts slices


def test_the_official_counts_of_the_decathlon_make_pgls_1148():
    tasks = ("06_lung", "07_pancreas", "08_hepatic_vessel", "10_colon")
    assert [m.dataset for m in mixture.mixture("pgl_1808_ct").datasets] == [
        "ribfrac",
        *(f"msd{task}" for task in (tasks[2], tasks[3], tasks[1], tasks[0])),
    ]
    folder = registry.folder("dataset") / "splits"
    labelled = 0
    for task in tasks:
        kind = registry.load("dataset", f"msd{task}")
        (file,) = kind.splits.values()
        read = json.loads((folder / file).read_text())
        labelled += sum(len(read[part]) for part in ("train", "val", "test"))
    assert labelled + 32 + 139 + 140 + 64 == 1148  # with the scans that have no labels


def test_hssl_has_eight_tasks_in_four_groups():
    found = mixture.mixture("hssl_8_tasks")
    assert tuple((m.dataset, m.group) for m in found.datasets) == TASKS
    assert [m.task for m in found.datasets] == [*range(1, 9)]
    assert set(found.groups) == {str(m.group) for m in found.datasets} == {"1", "2", "3", "4"}
    assert {m.recipe for m in found.datasets} == {"hssl"}
    assert {m.cases for m in found.datasets} == {"all"}  # "we use all images"


def test_pretraining_for_btcv_reads_no_scan_that_btcv_is_scored_on():
    for name in ("voco_no_luna", "glmae_ct"):
        (entry,) = (m for m in mixture.mixture(name).datasets if m.dataset == "btcv")
        assert entry.list == "voco_ssl"
        assert "luna16" not in {m.dataset for m in mixture.mixture(name).datasets}


def test_every_file_of_the_folder_is_a_mixture():
    assert sorted(p.name for p in FOLDER.iterdir()) == [f"{name}.yaml" for name in NAMES]
