"""The transcribed numbers are complete, in their units, and disagree only where the list says."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from bench import protocol as protocols
from bench.report.published import Published

FOLDER = Path(__file__).parents[2] / "results" / "published"
CELL = ["table", "method", "network", "dataset", "target", "fraction", "metric", "note"]
COLUMNS = "paper table method network pretrain dataset target fraction metric value unit dagger note"
PARTS = {"table1": 13, "table4": 3}  # tables that print a mean beside its parts
ORGANS = (  # in the paper's order
    "spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta inferior_vena_cava "
    "portal_and_splenic_veins pancreas right_adrenal_gland left_adrenal_gland"
)


def read(paper: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{paper}.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def voco() -> pd.DataFrame:
    return read("voco")


def value(frame: pd.DataFrame, **where: str) -> str:
    """Return the one printed value of a cell."""
    for column, wanted in where.items():
        frame = frame[frame[column] == wanted]
    assert len(frame) == 1, where
    return frame["value"].item()


def disagreements(frame: pd.DataFrame) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Return (printed mean, mean of the parts) by (table, method, note), where over 0.01 apart."""
    found = {}
    for table, count in PARTS.items():
        lines = frame[frame["table"] == table]
        for (method, note), row in lines.groupby(["method", "note"]):
            parts = [Decimal(v) for v in row.loc[row["target"] != "mean", "value"]]
            assert len(parts) == count
            printed = Decimal(row.loc[row["target"] == "mean", "value"].item())
            mean = sum(parts) / count
            if abs(printed - mean) > Decimal("0.01"):
                found[table, method, note] = (str(printed), f"{mean:.3f}")
    return found


def test_table_1_prints_every_organ_of_every_method(voco):
    lines = voco[voco["table"] == "table1"]
    for _, row in lines.groupby(["method", "note"]):
        assert " ".join(row["target"]) == f"{ORGANS} mean"
    assert lines.groupby("note")["method"].nunique().to_dict() == {
        "From Scratch": 2, "With General SSL": 6, "With Medical SSL": 11,
    }  # fmt: skip


def test_metrics_and_data_sets_belong_together(voco):
    accuracy = voco["metric"] == "accuracy"
    assert set(voco["metric"]) == {"dice", "accuracy"}
    assert set(voco.loc[accuracy, "dataset"]) == {"cc_ccii"}
    assert set(voco.loc[~accuracy, "dataset"]) == {"btcv", "lits", "msd09_spleen", "mmwhs", "brats21"}
    assert set(voco["fraction"]) == {"100"}


@pytest.mark.parametrize(
    ("table", "marked"),
    [
        ("table1", "Swin-UNETR MoCo_v3 Jigsaw PositionLabel Rubik++ PCRLv1 PCRLv2 GVSL"),
        ("table2", "UNETR Swin-UNETR MoCo_v3 Jigsaw PositionLabel Rubik++"),
        ("table3", "UNETR Swin-UNETR MoCo_v3 Jiasaw PositionLabel PCRLv1 PCRLv2 Rubik++"),
        ("table4", "MoCo_v3 Jigsaw PositionLabel PCRLv1 PCRLv2 Rubik++"),
        ("table5", ""),
    ],
)
def test_daggers_are_where_the_paper_has_them(voco, table: str, marked: str):
    lines = voco[(voco["table"] == table) & (voco["dagger"] == "1")]
    assert set(lines["method"]) == {m.replace("_", " ") for m in marked.split()}
    assert set(voco["dagger"]) == {"0", "1"}


def test_only_what_the_paper_states_of_pretraining_is_there(voco):
    scratch = (voco["note"] == "From Scratch") | (voco["note"] == "without Lpred, without Lreg")
    own = (voco["method"] == "VoCo") & ~scratch
    assert set(voco.loc[scratch, "pretrain"]) == {"none"}
    assert set(voco.loc[~scratch & ~own, "pretrain"]) == {""}
    for dataset, data in voco[own].groupby("dataset")["pretrain"]:
        wanted = "btcv+tcia_covid19" + ("" if dataset == "btcv" else "+luna16")
        assert set(data) == {wanted}


def test_numbers_printed_twice_are_equal(voco):
    ours = {"method": "VoCo", "target": "mean", "note": "With Medical SSL"}
    full = {"table": "table6", "note": "with Lpred, with Lreg"}
    best = {"table": "table7", "note": "n=4x4x1"}
    scratch = {"table": "table6", "note": "without Lpred, without Lreg"}
    btcv = value(voco, table="table1", **ours)
    heart = value(voco, table="table3", dataset="mmwhs", **ours)
    assert value(voco, dataset="btcv", **full) == value(voco, dataset="btcv", **best) == btcv
    assert value(voco, dataset="mmwhs", **full) == value(voco, dataset="mmwhs", **best) == heart
    base = {"method": "Swin-UNETR", "target": "mean", "note": "From Scratch"}
    assert value(voco, dataset="btcv", **scratch) == value(voco, table="table1", **base)
    assert value(voco, dataset="mmwhs", **scratch) == value(voco, table="table3", dataset="mmwhs", **base)


def test_gains_stated_in_the_prose_follow_from_the_tables(voco):
    methods = {"VoCo": "With Medical SSL", "Swin-UNETR": "From Scratch"}
    for table, target, gain in (("table1", "mean", "3.32"), ("table2", "liver", "3.10")):
        where = {"table": table, "target": target, "network": "Swin-UNETR"}
        ours, scratch = (Decimal(value(voco, method=m, note=n, **where)) for m, n in methods.items())
        assert ours - scratch == Decimal(gain)


def test_printed_means_disagree_with_their_parts_only_as_listed(voco):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    line = r"^\| (table\d) \| (.+?) \| (.+?) \| (\d\d\.\d\d) \| (\d\d\.\d{3}) \| ([+-]\d\.\d{3}) \|$"
    listed = {m[:3]: m[3:] for m in re.findall(line, text, flags=re.MULTILINE)}
    found = disagreements(voco)
    assert {cell: rest[:2] for cell, rest in listed.items()} == found
    for printed, mean, gap in listed.values():
        assert abs(Decimal(printed) - Decimal(mean) - Decimal(gap)) <= Decimal("0.001")


VOCO = {"table1": 266, "table2": 20, "table3": 36, "table4": 56, "table5": 12, "table6": 6, "table7": 12}
PGL = {"table5": 168, "table6": 36, "table7": 36, "table8": 12}


@pytest.mark.parametrize(
    ("paper", "tables", "low"),
    [
        ("voco", VOCO, 48.9),
        ("pgl", PGL, 0),
        ("hssl", {"table4": 10}, 0),
        ("glmae", {"table4": 30}, 77),
        ("taleb", {"table1": 48}, 74),
    ],
)
def test_every_table_of_a_paper_has_all_its_numbers_once_as_printed(paper, tables, low):
    frame = read(paper)
    assert " ".join(frame.columns) == COLUMNS and set(frame["paper"]) == {paper}
    assert frame["table"].value_counts().to_dict() == tables and not frame.duplicated(CELL).any()
    shares = frame["unit"] == "%"
    assert frame.loc[shares, "value"].str.fullmatch(r"\d\d\.\d\d").all()
    assert frame.loc[shares, "value"].astype(float).between(low, 99).all()  # VoCo's lowest and highest
    assert (shares == (frame["metric"] != "hd")).all() and set(frame.loc[~shares, "unit"]) <= {""}


@pytest.mark.parametrize(
    ("paper", "printed", "where"),
    [  # read off the paper's pages, not off the file
        ("pgl", "55.06", ("table5", "w/o F&CS", "gallbladder", "dice", "")),
        ("pgl", "80.37", ("table5", "w/o F", "mean", "dice", "")),
        ("pgl", "56.91", ("table5", "w/o CS", "portal_and_splenic_veins", "iou", "")),
        ("pgl", "27.14", ("table5", "w/o F&CS", "aorta", "hd", "")),
        ("pgl", "6.16", ("table5", "with F&CS", "mean", "hd", "")),
        ("pgl", "17.2", ("table6", "w/o F", "mean", "hd", "")),
        ("pgl", "54.10", ("table6", "w/o CS", "tumour", "dice", "")),
        ("pgl", "96.43", ("table6", "with F&CS", "organ", "dice", "")),
        ("pgl", "15.64", ("table7", "w/o F", "tumour", "hd", "")),
        ("pgl", "75.17", ("table7", "w/o F&CS", "mean", "iou", "")),
        ("pgl", "5.48", ("table8", "w/o F", "organ", "hd", "")),
        ("pgl", "95.60", ("table8", "with F&CS", "organ", "dice", "")),
        ("taleb", "76.38", ("table1", "3D-From scratch", "ET", "dice", "")),
        ("taleb", "88.78", ("table1", "2D-Rotation", "WT", "dice", "")),
        ("taleb", "86.12", ("table1", "3D-RPL", "TC", "dice", "")),
        ("taleb", "79.89", ("table1", "Chandra et al.", "TC", "dice", "BraTS challenge")),
        ("hssl", "65.71", ("table4", "HSSL", "left_atrium", "dice", "rec")),
        ("hssl", "66.67", ("table4", "HSSL", "spleen", "dice", "rec, img, task")),
        ("hssl", "81.46", ("table4", "HSSL", "left_atrium", "dice", "rec, img, task, group")),
    ],
)
def test_cells_read_off_the_pages_by_hand(paper: str, printed: str, where: tuple[str, ...]):
    keys = ("table", "method", "target", "metric", "note")
    assert value(read(paper), **dict(zip(keys, where, strict=True))) == printed


def test_pgls_printed_means_fit_their_parts_but_for_the_one_that_is_listed():
    apart = []
    for (table, method, metric), row in read("pgl").groupby(["table", "method", "metric"]):
        numbers = {t: Decimal(v) for t, v in zip(row["target"], row["value"], strict=True)}
        mean = numbers.pop("mean", None)
        if mean is not None and abs(sum(numbers.values()) / len(numbers) - mean) > Decimal("0.01"):
            apart.append((table, method, metric, str(mean)))
    assert apart == [("table5", "with F&CS", "hd", "6.16")]
    assert "printed 6.16" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("protocol", "row", "dataset", "target", "metric", "number"),
    [
        ("pgl/table5", "without_cs", "btcv", "oesophagus", "dice", 0.7199),
        ("pgl/table6", "pgl", "msd03_liver", "tumour", "hd", 24.01),
        ("pgl/table8", "without_f", "msd09_spleen", "organ", "iou", 0.8844),
        ("taleb/table1", "rpl3d", "brats18", "ET", "dice", 0.8128),
        ("taleb/table1", "scratch_2d", "brats18", "ET", "dice", None),
        ("hssl/table4", "rec_img", "msd02_heart", "left atrium", "dice", 0.7726),
        ("hssl/table4", "scratch", "msd02_heart", "left atrium", "dice", None),
    ],
)
def test_a_row_finds_what_its_paper_printed(protocol, row, dataset, target, metric, number):
    read_protocol = protocols.read(FOLDER.parents[1] / "protocols" / f"{protocol}.yaml", "paper")
    printed = Published(read_protocol, read(read_protocol.paper))
    (section,) = [t for t in read_protocol.finetune if t.dataset == dataset]
    found = printed.find(read_protocol.rows[row], (dataset,), (target,), section.fractions[0], metric)
    assert (found.number if found else None) == pytest.approx(number)


def test_talebs_text_says_of_its_table_what_the_numbers_say_but_for_the_one_that_is_listed():
    """Section 4.1: all methods outperform scratch and their 2D counterparts; two claims of single rows."""
    frame = read("taleb")
    dice = {(r.method, r.target): Decimal(r.value) for r in frame.itertuples()}
    scratch = {target: dice["3D-From scratch", target] for target in ("ET", "WT", "TC")}
    tasks = ("CPC", "RPL", "Jigsaw", "Rotation", "Exemplar")
    below = [
        (task, target, other) for task in tasks for target in scratch
        for other in ("3D-From scratch", f"2D-{task}") if dice[f"3D-{task}", target] <= dice[other, target]
    ]  # fmt: skip
    assert below == [("Jigsaw", "TC", "3D-From scratch"), ("Jigsaw", "TC", "2D-Jigsaw")]
    assert "3D-Jigsaw's TC, 82.52" in (FOLDER / "README.md").read_text(encoding="utf-8")
    entrants = set(frame.loc[frame["note"] == "BraTS challenge", "method"])
    assert len(entrants) == 4 and len(set(frame["method"])) == 16
    for target in ("ET", "TC"):
        assert dice["3D-RPL", target] > max(dice[name, target] for name in entrants)
    assert dice["3D-Exemplar", "WT"] == dice["Isensee et al.", "WT"]
