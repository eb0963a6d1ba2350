"""The papers disagree with themselves, and with each other, where ``errata.md`` says so and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pandas as pd
from transcripts import FOLDER, PAPERS, half, page, read, scores, transcript_of

COLUMNS = ("voco", "glmae", "pgl")  # of the pages' tables that set papers side by side


def means(paper: str) -> Iterator[list[str]]:
    """Yield a line of errata for each printed mean that rounding cannot bring to the mean of its parts."""
    frame = scores(paper)
    frame = frame.assign(note=frame["note"].str.replace(r"^class \d$", "", regex=True))
    keys = ["paper", "table", "method", "network", "dataset", "fraction", "metric", "note"]
    for key, row in frame.groupby(keys, sort=False):
        is_mean = row["target"] == "mean"
        parts = row.loc[~is_mean, "value"].tolist()
        if parts and is_mean.any():
            printed = row.loc[is_mean, "value"].item()
            mean = sum(map(Decimal, parts)) / len(parts)
            if abs(Decimal(printed) - mean) > half(printed) + sum(map(half, parts)) / len(parts):
                paper, table, method, _, dataset, _, metric, note = key
                gap = Decimal(printed) - mean
                yield [
                    paper,
                    table,
                    method,
                    note,
                    dataset,
                    metric,
                    printed,
                    f"{mean:.3f}",
                    f"{gap:+.3f}",
                ]


def test_printed_means_disagree_with_their_parts_only_as_listed():
    rows = [line for paper in PAPERS for line in means(paper)]
    assert page("errata.md", "Printed means") == rows


def score(paper: str, method: str, note: str, like: pd.Series) -> Decimal:
    """Return the Dice printed of a method in the cell of ``like``, on its network where there are several."""
    frame = scores(paper)
    rows = frame[
        (frame["metric"] == "dice")
        & (frame["method"] == method)
        & frame["note"].str.startswith(note)
    ]
    for column in ("dataset", "target", "fraction"):
        rows = rows[rows[column] == like[column]]
    near = rows[rows["network"] == like["network"]]
    (printed,) = set((near if len(near) else rows)["value"])
    return Decimal(printed)


def gains() -> Iterator[tuple[list[str], Decimal]]:
    """Yield each printed gain whose two scores are printed, too, and their difference."""
    for paper, base in (("pgl", ""), ("hssl", ""), ("voco", "With Medical SSL"), ("glmae", None)):
        frame = read(paper)
        for _, gain in frame[frame["metric"] == "dice_gain"].iterrows():
            over, _, note = gain["note"].partition("over ")[2].partition("|")
            if base is None and gain["table"] == "table4":
                ours = score(paper, gain["method"], gain["note"], gain)
                yield (line(gain), ours - score(paper, "Baseline", gain["network"], gain))
            elif base is not None and gain["dataset"] and gain["table"] == "text":
                yield (
                    line(gain),
                    score(paper, gain["method"], base, gain) - score(paper, over, note, gain),
                )


def line(listed: pd.Series) -> list[str]:
    return [*listed[["paper", "table", "note", "dataset", "fraction", "value"]]]


def extremes() -> Iterator[tuple[list[str], Decimal]]:
    """Yield HSSL's lowest and highest gains over TFS, and those of the tasks that Table 2 prints."""
    frame = read("hssl")
    table = frame[(frame["table"] == "table2") & ~frame["note"].str.startswith("class")]
    for _, listed in frame[frame["note"].str.contains("over TFS, ")].iterrows():
        part = table[table["fraction"] == listed["fraction"]]
        ours, scratch = (
            part[part["method"] == m]["value"].map(Decimal).tolist() for m in ("HSSL", "TFS")
        )
        differences = [a - b for a, b in zip(ours, scratch, strict=True)]
        yield line(listed), (min if listed["note"].endswith("lowest") else max)(differences)


def test_printed_gains_are_differences_of_printed_scores_but_where_listed():
    every = [*gains(), *extremes()]
    assert len(every) == 10 + 1 + 3 + 24 + 4
    wrong = [
        [*listed, str(by_table)] for listed, by_table in every if Decimal(listed[-1]) != by_table
    ]
    assert page("errata.md", "Printed gains") == wrong


def comparable() -> pd.DataFrame:
    """Return one number of each main result, under one name for each method and for each target.

    A main result is a mean, or the one target of a data set. ``scratch`` tells a network without pretraining
    from a method of its name.
    """
    frame = pd.concat([scores(p).merge(_main(p), on="table") for p in PAPERS])
    names = {
        (paper, printed): name
        for name, *cells in page("errata.md", "One method, several names")
        for paper, cell in zip(COLUMNS, cells, strict=True)
        for printed in cell.split(", ")
    }
    frame["name"] = [names.get((r.paper, r.method), r.method) for r in frame.itertuples()]
    frame["one"] = frame.groupby(["paper", "table", "dataset"])["target"].transform("nunique") == 1
    frame["scratch"] = frame["pretrain"] == "none"
    return frame[frame["one"] | (frame["target"] == "mean")]


def _main(paper: str) -> pd.DataFrame:
    """Return the tables that compare methods; the others compare settings of one."""
    last = {"pgl": 4, "hssl": 3, "voco": 5, "taleb": 1, "glmae": 3}[paper]
    return pd.DataFrame({"table": [f"table{n}" for n in range(1, last + 1)]})


def test_what_several_papers_print_of_one_cell_is_listed_where_it_differs_and_counted_where_it_does_not():
    different, same = [], 0
    keys = ["dataset", "fraction", "metric", "name", "scratch"]
    for key, cell in comparable().groupby(keys, sort=False):
        printed = {p: " ".join(sorted(set(of["value"]))) for p, of in cell.groupby("paper")}
        if len(printed) > 1 and len(set(printed.values())) > 1:
            different.append([*key[:4], *(printed.get(p, "") for p in COLUMNS)])
        same += len(printed) > 1 and len(set(printed.values())) == 1
    assert page("errata.md", "Several papers, one cell") == different
    text = (FOLDER / "errata.md").read_text(encoding="utf-8")
    assert f"{same} more cells are printed by VoCo and GL-MAE, with equal numbers" in " ".join(
        text.split()
    )


FULL = "VoCo (with Lpred, with Lreg)"


TWICE = [
    ("voco", "table1: VoCo", f"table6: {FULL}", 1),
    ("voco", "table1: VoCo", "table7: VoCo (n=4x4x1)", 1),
    ("voco", "table3: VoCo", f"table6: {FULL}", 1),
    ("voco", "table3: VoCo", "table7: VoCo (n=4x4x1)", 1),
    ("voco", "table1: Swin-UNETR (From Scratch)", "table6: VoCo (without Lpred, without Lreg)", 1),
    ("voco", "table3: Swin-UNETR (From Scratch)", "table6: VoCo (without Lpred, without Lreg)", 1),
    ("pgl", "table1: PGL", "table5: with F&CS", 42),
    ("pgl", "table2: PGL", "table6: with F&CS", 9),
    ("pgl", "table3: PGL", "table7: with F&CS", 9),
    ("pgl", "table4: PGL", "table8: with F&CS", 3),
    ("hssl", "table2: HSSL", "table3: HSSL", 6),
    ("hssl", "table2: HSSL", "table4: HSSL (rec, img, task, group)", 2),
    ("hssl", "table2: SimCLR", "table4: HSSL (img)", 2),
    ("glmae", "table1: UNETR", "table4: Baseline (ViT-B, Baseline)", 2),
]


def test_numbers_printed_twice_are_equal_but_where_listed():
    apart = []
    for paper, first, second, cells in TWICE:
        both = transcript_of(paper, first, second)
        assert len(both) == cells, (paper, first, second)
        for r in both[both["value"] != both["other"]].itertuples():
            apart.append([paper, r.dataset, r.target, r.metric, first, r.value, second, r.other])
    assert page("errata.md", "One paper, one cell, two numbers") == apart
