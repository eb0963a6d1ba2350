"""The transcribed numbers are complete, as printed and in their units, and protocols find them."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest
from transcripts import FOLDER, PAPERS, read, value

from bench import protocol as protocols
from bench import registry
from bench.report.published import Published

CELL = ["table", "method", "network", "dataset", "target", "fraction", "metric", "note"]
COLUMNS = (
    "paper table method network pretrain dataset target fraction metric value unit dagger note"
)
ORGANS = (  # in the paper's order
    "spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta inferior_vena_cava "
    "portal_and_splenic_veins pancreas right_adrenal_gland left_adrenal_gland"
)


@pytest.fixture(scope="module")
def voco() -> pd.DataFrame:
    frame = read("voco")
    return frame[frame["table"] != "text"]


def test_table_1_prints_every_organ_of_every_method(voco):
    lines = voco[voco["table"] == "table1"]
    for _, row in lines.groupby(["method", "note"]):
        assert " ".join(row["target"]) == f"{ORGANS} mean"
    assert lines.groupby("note")["method"].nunique().to_dict() == {
        "From Scratch": 2,
        "With General SSL": 6,
        "With Medical SSL": 11,
    }


def test_metrics_and_data_sets_belong_together(voco):
    accuracy = voco["metric"] == "accuracy"
    assert set(voco["metric"]) == {"dice", "accuracy"}
    assert set(voco.loc[accuracy, "dataset"]) == {"cc_ccii"}
    assert set(voco.loc[~accuracy, "dataset"]) == {
        "btcv",
        "lits",
        "msd09_spleen",
        "mmwhs",
        "brats21",
    }
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
    of_voco = (voco["method"] == "VoCo") & ~scratch
    assert set(voco.loc[scratch, "pretrain"]) == {"none"}
    assert set(voco.loc[~scratch & ~of_voco, "pretrain"]) == {""}
    for dataset, data in voco[of_voco].groupby("dataset")["pretrain"]:
        wanted = "btcv+tcia_covid19" + ("" if dataset == "btcv" else "+luna16")
        assert set(data) == {wanted}


COUNTS = {
    "pgl": {
        "table1": 168,
        "table2": 36,
        "table3": 36,
        "table4": 12,
        "table5": 168,
        "table6": 36,
        "table7": 36,
        "table8": 12,
        "text": 16,
    },
    "hssl": {"table1": 16, "table2": 90, "table3": 30, "table4": 10, "fig4": 2, "text": 5},
    "voco": {
        "table1": 266,
        "table2": 20,
        "table3": 36,
        "table4": 56,
        "table5": 12,
        "table6": 6,
        "table7": 12,
        "text": 3,
    },
    "taleb": {"table1": 48},
    "glmae": {
        "table1": 74,
        "table3": 12,
        "table4": 54,
        "fig3": 2,
        "fig4": 2,
        "supplement_covid": 2,
        "supplement_data": 2,
        "text": 1,
    },
}
LOWEST = {"pgl": 40, "hssl": 20, "voco": 48.9, "taleb": 74, "glmae": 31}  # of the scores in percent


@pytest.mark.parametrize("paper", PAPERS)
def test_every_table_of_a_paper_has_all_its_numbers_once_as_printed(paper: str):
    frame = read(paper)
    assert " ".join(frame.columns) == COLUMNS and set(frame["paper"]) == {paper}
    assert (
        frame["table"].value_counts().to_dict() == COUNTS[paper]
        and not frame.duplicated(CELL).any()
    )
    counts = ", ".join(f"{table} {count}" for table, count in COUNTS[paper].items())
    assert f"| {paper}.csv | {counts} |" in (FOLDER / "README.md").read_text(encoding="utf-8")
    scores = frame[frame["metric"].isin(("dice", "iou", "accuracy"))]
    few = scores.loc[~scores["value"].str.fullmatch(r"\d\d\.\d\d"), "value"].tolist()
    assert few == (["51.8"] if paper == "pgl" else [])
    assert scores["value"].astype(float).between(LOWEST[paper], 99).all()
    assert frame["value"].str.fullmatch(r"\d+(\.\d+)?").all()


UNITS = {
    "dice": {"%"},
    "iou": {"%"},
    "accuracy": {"%"},
    "dice_gain": {"%"},
    "hd": {""},
    "parameters": {"M", "%"},
    "latency": {"ms"},
    "pretrain_time": {"days"},
    "finetune_time": {"days"},
    "n_slices": {""},
    "group_id": {""},
}


@pytest.mark.parametrize("paper", PAPERS)
def test_columns_hold_known_names(paper: str):
    frame = read(paper)
    names = {n for n in registry.names("dataset")}
    assert set(frame["dataset"].str.removesuffix("_linear")) - {""} <= names
    pretrain = {n for joined in frame["pretrain"] for n in joined.split("+")} - {"", "none"}
    assert pretrain <= names | {"tcia_covid19"}  # VoCo's name of covid19_ct
    for metric, units in frame.groupby("metric")["unit"]:
        assert set(units) <= UNITS[metric], metric
    assert set(frame["fraction"]) <= {"", "5", "10", "25", "50", "100"}
    prose = frame["table"].str.startswith(("fig", "supplement", "text"))
    assert (frame["note"].str.startswith("prose, ") == prose).all()


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
        ("pgl", "51.98", ("table1", "Random Init", "gallbladder", "dice", "")),
        ("pgl", "51.8", ("table1", "Models Genesis", "left_adrenal_gland", "iou", "")),
        ("pgl", "20.41", ("table1", "BYOL", "esophagus", "hd", "")),
        ("pgl", "43.25", ("table2", "BYOL", "tumour", "iou", "")),
        ("pgl", "2.1", ("table3", "BYOL", "organ", "hd", "")),
        ("pgl", "5.89", ("table4", "Models Genesis", "organ", "hd", "")),
        ("hssl", "26.97", ("table3", "UNet3+", "", "parameters", "")),
        ("glmae", "60.46", ("table3", "GL-MAE", "et", "dice", "")),
        (
            "voco",
            "1.84",
            (
                "text",
                "VoCo",
                "mean",
                "dice_gain",
                "prose, section 4.3: over GL-MAE|With Medical SSL",
            ),
        ),
        ("pgl", "2.38", ("text", "", "", "parameters", "prose, section 5.1: ASPP and decoder")),
    ],
)
def test_cells_read_off_the_pages_by_hand(paper: str, printed: str, where: tuple[str, ...]):
    keys = ("table", "method", "target", "metric", "note")
    assert value(read(paper), **dict(zip(keys, where, strict=True))) == printed


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
    value = printed.find(
        read_protocol.rows[row], (dataset,), (target,), section.fractions[0], metric
    )
    assert (value.number if value else None) == pytest.approx(number)


def test_hssls_cells_of_one_column_read_off_the_page_by_hand():
    """Table 2's task 3 at 10 % in the page's order, and the slices of Table 1."""
    frame = read("hssl")
    ten = frame[
        (frame["table"] == "table2")
        & (frame["dataset"] == "msd05_prostate")
        & (frame["fraction"] == "10")
    ]
    of = {m: " ".join(part["value"]) for m, part in ten.groupby("method")}
    assert of["In-painting"] == "33.81 67.14 50.48" and of["HSSL"] == "46.97 72.21 59.59"
    slices = frame.loc[frame["metric"] == "n_slices", "value"].astype(int)
    assert slices.sum() == 29358  # 1000 epochs of which make the steps of protocols/hssl


def test_glmaes_numbers_of_one_row_read_off_the_page_by_hand():
    """Table 1's MAE3D in the page's order, and Table 4's last row: Dice, then gains."""
    frame = read("glmae")
    first = frame[(frame["table"] == "table1") & (frame["method"] == "MAE3D")]
    assert " ".join(first["value"]) == "66.08 75.39 81.74 89.65 94.20 95.20 69.78 84.64 86.03"
    last = frame[frame["note"] == "ViT-B, + L_C^gl"]
    assert " ".join(last["value"]) == "79.99 81.91 87.89 0.95 2.30 4.04"


def test_a_gain_told_of_a_figure_stands_beside_no_row():
    fig4 = protocols.read(FOLDER.parents[1] / "protocols" / "hssl" / "fig4.yaml", "paper")
    assert not Published(fig4, read("hssl")).any
    table4 = protocols.read(FOLDER.parents[1] / "protocols" / "hssl" / "table4.yaml", "paper")
    assert Published(table4, read("hssl")).any


def test_talebs_row_that_matches_the_challenge_and_hssls_lightest_network():
    """ "matches the result of Isensee et al. in terms of WT"; "our model is most lightweight"."""
    dice = {(r.method, r.target): r.value for r in read("taleb").itertuples()}
    assert dice["3D-Exemplar", "WT"] == dice["Isensee et al.", "WT"] == "90.80"
    hssl = read("hssl")
    sizes = hssl[hssl["metric"] == "parameters"].set_index("method")["value"].map(Decimal)
    assert sizes.idxmin() == "HSSL"
