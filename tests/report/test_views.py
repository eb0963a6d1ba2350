"""Views: what stands in lines and columns, marks wherever rows stand, and what is printed beside."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.protocol import Finetune, Layout, Net, Pretrain, Quoted, Row, View, read
from bench.protocol.sections import Mix
from bench.report.conclusion import forest_figures, verdict_tables
from bench.report.differences import strips
from bench.report.figures import wanted
from bench.report.numbers import MINUS, TIMES
from bench.report.spreadsheet import table_csv
from bench.report.supplement import Course, Extras, Ingredient
from bench.report.table_cells import PATIENTS_FIRST
from bench.report.tables import tables
from bench.report.text import _md_table
from bench.report.verdicts import verdicts
from bench.report.write import context_of, write

ROOT = Path(__file__).parents[2]
NETS = {"S": Net("unetr", preset="tiny"), "L": Net("unetr")}


def wording(line):
    """Return a line with one kind of blank, and signs that are on a keyboard."""
    return re.sub(r"[ \xa0]+", " ", line).strip().replace(TIMES, "x").replace(MINUS, "-")


def section(dataset="organs", **given):
    return Finetune(dataset=dataset, split="even", steps=10, **given)


def built(protocol, records, *views, extras=None, **changes):
    """Return the tables of views, in Markdown without the padding, and as they are, and the footnotes."""
    viewed = protocol(layout=replace(changes.pop("layout", Layout()), views=views), **changes)
    result, notes = tables(context_of(viewed, records, extras or Extras()))
    grids = [[wording(line) for line in _md_table(t).splitlines()] for t in result]
    return [[line for line in grid if not line.startswith("| --")] for grid in grids], result, notes


@pytest.fixture
def scores(records):
    """Two rows, two targets, Dice and HD: a is better by Dice at the liver, by HD nowhere."""
    value = {
        ("a", "liver", "dice"): 0.8,
        ("b", "liver", "dice"): 0.7,
        ("a", "tumour", "dice"): 0.4,
        ("b", "tumour", "dice"): 0.5,
        ("a", "liver", "hd"): 9.0,
        ("b", "liver", "hd"): 8.0,
        ("a", "tumour", "hd"): 5.0,
        ("b", "tumour", "hd"): 4.0,
    }
    return records(
        *(
            {"row": r, "target": t, "metric": m, "value": v, "unit": "mm" if m == "hd" else "1"}
            for (r, t, m), v in value.items()
        )
    )


PIVOTS = {  # view: the table
    "rows in the columns, targets and metrics in the lines": (
        View(lines=("target", "metric"), columns=("row",)),
        [
            "| Target | Metric | A | B |",
            "| liver | Dice (%) | **80.00** | <u>70.00</u> |",
            "| | HD (mm) | <u>9.00</u> | **8.00** |",
            "| tumour | Dice (%) | <u>40.00</u> | **50.00** |",
            "| | HD (mm) | <u>5.00</u> | **4.00** |",
            "| Mean | Dice (%) | **60.00** | **60.00** |",
            "| | HD (mm) | <u>7.00</u> | **6.00** |",
            "| Runs x patients | | 1 x 1 | 1 x 1 |",
        ],
    ),
    "metrics in the columns, of the mean": (
        View(columns=("metric",)),
        [
            "| Method | Dice (%) | HD (mm) | Runs x patients |",
            "| A | **60.00** | <u>7.00</u> | 1 x 1 |",
            "| B | **60.00** | **6.00** | 1 x 1 |",
        ],
    ),
    "a block for each metric, of two targets in the view's order": (
        View(lines=("metric", "row"), targets=("mean", "liver")),
        [
            "| Metric | Method | Mean | liver | Runs x patients |",
            "| Dice (%) | A | **60.00** | **80.00** | 1 x 1 |",
            "| | B | **60.00** | <u>70.00</u> | 1 x 1 |",
            "| HD (mm) | A | <u>7.00</u> | <u>9.00</u> | 1 x 1 |",
            "| | B | **6.00** | **8.00** | 1 x 1 |",
        ],
    ),
    "one row, one metric, one target: what is left out is no rival": (
        View(columns=("target", "metric"), rows=("b",), metrics=("hd",), targets=("tumour",)),
        ["| Method | HD (mm) | Runs x patients |", "| B | 4.00 | 1 x 1 |"],
    ),
    "metrics under targets": (
        View(columns=("target", "metric"), targets=("liver", "mean"), rows=("b", "a")),
        [
            "| Method | liver, Dice (%) | liver, HD (mm) | Mean, Dice (%) | Mean, HD (mm) | Runs x patients |",
            "| B | <u>70.00</u> | **8.00** | **60.00** | **6.00** | 1 x 1 |",
            "| A | **80.00** | <u>9.00</u> | **60.00** | <u>7.00</u> | 1 x 1 |",
        ],
    ),
}


@pytest.mark.parametrize("what", PIVOTS)
def test_a_view_is_a_pivot_and_marks_are_among_rows_wherever_these_stand(protocol, scores, what):
    view, expected = PIVOTS[what]
    grids, (table,), _ = built(protocol, scores, view, metrics=("dice", "hd"))
    assert grids[0] == expected
    ways = {"Dice in percent, higher is better", "HD in mm, lower is better"}
    assert {first for first in ways if first in table.caption} == (
        ways if len(table.metrics) > 1 else set()
    )
    if "row" in view.columns:
        assert "in each line; underlined" in table.caption and table.counted is False


def test_a_table_says_in_its_title_what_all_its_cells_share(protocol, scores):
    two = (section(fractions=(5, 100)), section(name="again"))
    views = (
        View(columns=("row",), lines=("target",), metrics=("hd",)),
        View(title="T", lines=("metric", "row")),
    )
    _, result, _ = built(protocol, scores, *views, metrics=("dice", "hd"), finetune=two)
    places = (
        "organs (organs), 5 % of labels",
        "organs (organs), 100 % of labels",
        "organs (again), 100 % of labels",
    )
    assert [t.title for t in result] == [f"HD, {p}" for p in places] + [f"T, {p}" for p in places]


SEVERAL = (
    section(title="Liver", fractions=(10, 100)),
    section("hearts", title="Heart", fractions=(10,)),
)


def test_lines_of_sections_and_fractions_are_blank_where_a_row_has_no_cell(protocol, records):
    rows = {
        "a": Row("scratch", "net", title="A"),
        "b": Row("voco", "net", title="B", sections=("organs",)),
    }
    table = records(
        *(
            {"row": r, "fraction": f, "value": v}
            for (r, f), v in {
                ("a", 10): 0.1,
                ("a", 100): 0.2,
                ("b", 10): 0.3,
                ("b", 100): 0.4,
            }.items()
        ),
        {"row": "a", "dataset": "hearts", "fraction": 10, "value": 0.5, "target": "atrium"},
    )
    grids, result, notes = built(
        protocol,
        table,
        View(lines=("section", "fraction", "target"), columns=("row",)),
        rows=rows,
        finetune=SEVERAL,
    )
    assert grids[0] == [
        "| Data | Labels | Target | A | B | Runs x patients |",
        "| Liver | 10 % | liver | <u>10.00</u> | **30.00** | 1 x 1 |",
        "| | 100 % | liver | <u>20.00</u> | **40.00** | 1 x 1 |",
        "| Heart | 10 % | atrium | 50.00 | | 1 x 1 |",
    ]
    assert not notes.letters and result[0].heads == []
    written = [
        line.split(",")
        for line in table_csv(
            context_of(protocol(rows=rows, finetune=SEVERAL), table, Extras())
        ).splitlines()
    ]
    assert {line[3] for line in written if line[0] == "b"} == {"organs"}


def test_rows_of_one_title_on_several_networks_are_one_line_with_gains_on_each_networks_scratch(
    protocol, records, printed
):
    rows = {
        f"{name}_{net}": Row(method, net, title=title, published=f"{title}|{net}")
        for net in "SL"
        for name, method, title in (("base", "scratch", "Base"), ("ours", "voco", "Ours"))
    }
    value = {"base_S": 0.5, "ours_S": 0.51, "base_L": 0.7, "ours_L": 0.66}
    table = records(*({"row": r, "value": v, "network": rows[r].network} for r, v in value.items()))
    lines = [
        {"method": "Ours", "note": "S", "metric": m, "value": v}
        for m, v in (("dice", "52.00"), ("dice_gain", "1.50"))
    ]
    view = View(columns=("section", "network"), gain="baseline")
    grids, (result,), _ = built(
        protocol,
        table,
        view,
        rows=rows,
        networks=NETS,
        finetune=(section(title="Liver"),),
        extras=Extras(published=printed(*lines)),
    )
    assert grids[0] == [
        "| Method | S | L | Runs x patients |",
        "| Base | <u>50.00</u> | **70.00** | 1 x 1 |",
        "| Ours | **51.00** (+1.00) | <u>66.00</u> (-4.00) | 1 x 1 |",
        "| *published, published gain (ours - published)* | 52.00, +1.50 (-1.00) | | |",
    ]
    wording = "In brackets: the gain over scratch of the same network, on"
    assert f"{wording} the same patients, seeds and targets." in result.caption
    assert result.title == "Dice, Liver, 100 % of labels"
    named = View(columns=("metric",), gain="base_L")
    grids, _, _ = built(protocol, table, named, rows=rows, networks=NETS)
    assert grids[0][1:3] == [
        "| Base | S | <u>50.00</u> (-20.00) | 1 x 1 |",
        "| Ours | S | **51.00** (-19.00) | 1 x 1 |",
    ]


def test_a_gain_on_a_row_that_has_other_seeds_is_not_shown(protocol, records):
    """Half of a study must not read as if a lucky seed were a gain on the mean of three."""
    half = [
        {"row": "a", "value": 0.5},
        {"row": "a", "seed": 1, "value": 0.6},
        {"row": "b", "value": 0.5},
    ]
    complete = [*half, {"row": "b", "seed": 1, "value": 0.8}]
    for runs, gains in ((half, 0), (complete, 1)):
        grids, _, _ = built(protocol, records(*runs), View(columns=("metric",), gain="a"))
        assert sum(line.startswith("| B ") and "(" in line for line in grids[0]) == gains


# fold: scores of a (scratch) and b, of one patient each
FOLDS = {0: (0.90, 0.89), 1: (0.50, 0.52), 2: (0.40, 0.44)}


UNDEFINED = {"status": "both_empty", "value": float("nan")}


def folds(which, **given):
    """Records of a in all folds, of b in some."""
    return [
        {"row": r, "fold": f, "case": f"c{f}", "value": value, **given}
        for f, pair in FOLDS.items()
        for r, value in zip("ab", pair, strict=True)
        if r == "a" or f in which
    ]


@pytest.mark.parametrize(
    ("rows", "noted"),
    [
        (
            folds((0, 2)),
            "on the 2 patients of both rows the gain is +1.50",
        ),  # (-1 + 4) / 2; the means differ by 6.50
        (
            [
                *folds((0,)),
                *({"row": "b", "fold": f, "case": f"c{f}", **UNDEFINED} for f in (1, 2)),
            ],
            f"on the 1 patient of both rows the gain is {MINUS}1.00",
        ),
        (
            [{**r, "metric": "hd95", "unit": "mm"} for r in folds((1, 2))],
            "on the 2 patients of both rows the gain is +0.03",
        ),
        (
            [{"row": "a", "seed": 1, "value": 0.5}, {"row": "b", "value": 0.9}],
            "the two rows share none",
        ),
    ],
)
def test_a_row_over_other_patients_than_its_baseline_has_no_gain_and_no_mark_in_any_form(
    protocol, records, tmp_path, rows, noted
):
    metric = rows[0].get("metric", "dice")
    viewed = protocol(layout=Layout(views=(View(gain="baseline"),)), metrics=(metric,))
    paths = write(viewed, records(*rows), tmp_path, figures=False)
    wording = (
        "no gain over A is printed: the two means are not of the same patients, runs and targets; "
        f"{noted}"
    )
    for text in (paths.markdown.read_text(), paths.page.read_text(), paths.text):
        assert wording in text
    assert wording.replace(MINUS, r"\ensuremath{-}") in paths.tex.read_text()
    (_, shown) = tables(context_of(viewed, records(*rows), Extras()))[0][0].lines
    assert (shown.row, shown.entries[0].mark, shown.entries[0].gain) == ("b", "", "")


def test_a_gain_is_rounded_once_and_is_the_number_of_the_verdict(protocol, records, tmp_path):
    """80.004 and 80.806 print as 80.00 and 80.81; what lies between is 0.802."""
    rows = [
        {"row": r, "case": f"c{i}", "value": v}
        for i in range(3)
        for r, v in (("a", 0.80004), ("b", 0.80806))
    ]
    rows = records(*rows)
    viewed = protocol(layout=Layout(views=(View(gain="baseline"),)))
    (line,) = [o for o in tables(context_of(viewed, rows, Extras()))[0][0].lines if o.row == "b"]
    assert (line.entries[0].mean, line.entries[0].gain) == ("80.81", "+0.80")
    context = context_of(viewed, rows, Extras())
    assert verdict_tables(context, verdicts(context))[0].lines[0].words[1] == "+0.80"
    assert strips(context)[0].rows[0].text == "+0.80"
    (figure,) = forest_figures(context, verdicts(context))
    assert any(t.get_text().startswith("+0.80  [") for ax in figure.draw().axes for t in ax.texts)


def test_where_a_target_lacks_the_gain_is_still_that_of_the_verdict_and_it_is_said(
    protocol, records
):
    """Two patients, one without a spleen in either row: targets first 5.50, patients first 7.75."""
    value = {("x", "liver"): (0.5, 0.6), ("y", "liver"): (0.5, 0.6), ("x", "spleen"): (0.5, 0.51)}
    rows = records(
        *(
            {"row": r, "case": c, "target": t, "value": v}
            for (c, t), pair in value.items()
            for r, v in zip("ab", pair, strict=True)
        )
    )
    viewed = protocol(layout=Layout(views=(View(gain="baseline", targets=("mean",)),)))
    context = context_of(viewed, rows, Extras())
    (table,), notes = tables(context)
    (cell_entry,) = table.lines[1].entries
    assert (table.lines[0].entries[0].mean, cell_entry.mean, cell_entry.gain) == (
        "50.00",
        "55.50",
        "+7.75",
    )
    assert notes.letters == {PATIENTS_FIRST: cell_entry.note}
    assert verdict_tables(context, verdicts(context))[0].lines[0].words[1] == "+7.75"


def test_headings_over_columns_span_what_they_are_of(protocol, scores):
    view = View(columns=("target", "metric"), facts=("parameters",), targets=("liver", "mean"))
    _, (result,), _ = built(
        protocol, scores, view, metrics=("dice", "hd"), networks={"net": Net("unetr")}
    )
    assert result.heads == [[("", 1), ("liver", 2), ("Mean", 2)]] and result.starts == {1, 3}


def test_facts_and_checks_are_columns_about_the_row(protocol, records, printed):
    rows = {
        "a": Row("scratch", "S", title="A"),
        "b": Row("voco", "L", title="B", params={"reg": 0.0}, published="VoCo"),
        "c": Row("voco", "L", title="C", params={"size": 3}),
    }
    checks = {"Any": "pretrained", "Reg": "reg", "On": "on", "Lost": "lost"}
    view = View(
        facts=("network", "parameters", "decoder_parameters"), checks=checks, columns=("section",)
    )
    fact = {
        "metric": "parameters",
        "value": "40.00",
        "unit": "M",
        "fraction": "",
        "dataset": "",
        "target": "",
    }
    extras = Extras(published=printed(fact), defaults={"voco": {"reg": 0.5, "on": True}})
    grids, (result,), _ = built(
        protocol, records({}), view, rows=rows, networks=NETS, extras=extras
    )
    assert grids[0] == [
        "| Method | Network | Parameters (M) | Decoder (M) | Any | Reg | On | Lost | organs | Runs x "
        "patients |",
        "| A | S | 1.40 | 0.71 | | | | | 50.00 | 1 x 1 |",
        "| B | L | 92.78 | 4.44 | ✓ | | ✓ | — | — | |",
        "| *published (ours - published)* | | 40.00 (+52.78) | | | | | | | |",
        "| C | L | 92.78 | 4.44 | ✓ | ✓ | ✓ | — | — | |",
    ]
    assert (
        "not recorded by the run" in result.caption
        and "Parameters of networks in millions" in result.caption
    )


QUOTED = {"q": Quoted("Other", title="Theirs", why="no code"), "none": Quoted("Nobody")}


@pytest.mark.parametrize("across", [False, True])
def test_a_row_that_nobody_runs_stands_in_grey_with_the_papers_numbers_and_is_never_best(
    protocol, scores, printed, tmp_path, across
):
    view = View(lines=("target",), columns=("row",)) if across else View()
    view = replace(view, metrics=("dice",))
    extras = Extras(published=printed({"method": "Other", "value": "99.00", "dagger": "1"}))
    grids, (result,), notes = built(protocol, scores, view, published_only=QUOTED, extras=extras)
    assert list(notes.letters) == ["Theirs (published): not run here; no code"]
    if across:
        assert grids[0][:3] == [
            "| Target | A | B | *Theirs (published)*<sup>a</sup> |",
            "| liver | **80.00** | <u>70.00</u> | *99.00†* |",
            "| tumour | <u>40.00</u> | **50.00** | |",
        ]
        assert [c.quoted for c in result.columns] == [False, False, True]
    else:
        assert grids[0][3].startswith("| *Theirs (published)*<sup>a</sup> | *99.00†* |")
        assert [line.kind for line in result.lines] == ["", "", "quoted"]
    viewed = protocol(published_only=QUOTED, layout=Layout(views=(view,)))
    paths = write(viewed, scores, tmp_path, extras, figures=False)
    csv = [line for line in paths.csv.read_text().splitlines() if line.startswith(("q,", "none,"))]
    assert [line.split(",")[7:12] + line.split(",")[-3:] for line in csv] == [
        ["100", "liver", "dice", "1", "", "0.990000", "", "published"]
    ]
    assert 'class="quoted"' in paths.page.read_text() or " quoted" in paths.page.read_text()
    assert r"\textit{99.00\textsuperscript{\dag}}" in paths.tex.read_text()
    silent = replace(view, published=False)
    assert "Theirs" not in str(
        built(protocol, scores, silent, published_only=QUOTED, extras=extras)[0]
    )


ERRATA = """# Errata

| paper | table | method | note | dataset | metric | printed | mean of parts | difference |
|---|---|---|---|---|---|---|---|---|
| voco | table1 | VoCo |  | organs | dice | 60.00 | 59.500 | +0.5 |
| voco | table2 | VoCo |  | organs | dice | 60.00 | 1.000 | 59 |

| paper | dataset | target | metric | first | printed | second | printed |
|---|---|---|---|---|---|---|---|
| voco | organs | liver | dice | table5: VoCo 5 | 71.00 | table1: VoCo | 70.50 |

| here | voco | glmae |
|---|---|---|
| VoCo | VoCo | Volume Contrast, VC |
"""


def test_errata_and_other_papers_numbers_stand_below_the_papers_own(
    protocol, scores, printed, tmp_path
):
    rows = {
        "a": Row("scratch", "net", title="A", published="UNet"),
        "b": Row("voco", "net", title="B", published="VoCo"),
    }
    frame = printed(
        {"target": "mean", "value": "60.00"},
        {"value": "70.50"},
        {"method": "UNet", "value": "1.00", "pretrain": "none"},
        {"paper": "glmae", "method": "VC", "value": "71.20", "note": "copied_from voco"},
        {"paper": "glmae", "method": "UNet", "value": "2.00"},  # that one was pretrained
        {"paper": "glmae", "method": "VC", "table": "table2", "value": "3.00", "note": "one"},
        {"paper": "glmae", "method": "VC", "table": "table2", "value": "4.00", "note": "another"},
        {"paper": "voco", "table": "table2", "value": "5.00"},
    )
    extras = Extras(published=frame, errata=ERRATA)
    paths = write(protocol(rows=rows, metrics=("dice",)), scores, tmp_path, extras, figures=False)
    text = paths.markdown.read_text().replace(MINUS, "-")
    assert "70.50 (-0.50)<sup>a</sup>" in text and "60.00 (+0.00)<sup>b</sup>" in text
    assert "</sup> Table 5 of the same paper (VoCo 5) prints 71.00 for this cell." in text
    assert (
        "</sup> The paper prints 60.00, but the mean of the parts that the paper prints is 59.500."
        in text
    )
    block = (
        text.partition("### Other papers on the same cells\n\n")[2]
        .partition("\n\n")[0]
        .splitlines()
    )
    assert block == [
        "- B, organs, liver, 100 %, Dice: 71.20 (copied_from voco) in Table 1 of glmae.",
        "- Numbers are as printed. Splits, networks and settings may differ from paper to paper.",
    ]


def test_a_mixture_has_a_table_of_its_data_sets_with_what_was_read_and_printed(
    protocol, records, printed
):
    parts = (Mix("msd02_heart", task=1, group=1), Mix("msd09_spleen", task=5))
    count = {"method": "", "target": "", "fraction": "", "unit": "", "dataset": "msd02_heart"}
    frame = printed(
        {**count, "metric": "n_slices", "value": "1262"},
        {**count, "metric": "group_id", "value": "1"},
    )
    read = (Ingredient("msd02_heart", 20, 2271), Ingredient("msd09_spleen", 41, 3650))
    for read_parts, cells in ((read, ("20 | 2,271", "41 | 3,650")), ((), ("— | —", "— | —"))):
        grids, _, _ = built(
            protocol,
            records({}),
            View(draw="mixture", title="M"),
            pretrain=Pretrain(datasets=parts),
            extras=Extras(published=frame, read=read_parts),
        )
        assert grids[0] == [
            "| Task | Data set | Group | Labels | Group ID | Classes | Cases | Slices |",
            f"| 1 | MSD Task02 Heart | — | 1: left atrium | 1 | 1 | {cells[0]} |",
            f"| | *published (ours - published)* | | | 1 | | | 1,262{' (+1,009)' if read_parts else ''} |",
            f"| 5 | MSD Task09 Spleen | — | 1: spleen | — | 1 | {cells[1]} |",
        ]


def test_a_terminal_shows_every_level_of_labels(protocol, scores, tmp_path):
    view = View(lines=("metric", "row"), gain="a")
    two = protocol(layout=Layout(views=(view,)), metrics=("dice", "hd"))
    text = write(two, scores, tmp_path, figures=False).text
    lines = [wording(line) for line in text.splitlines()]
    assert lines[3:9] == [
        "metric liver tumour Mean runs x patients",
        lines[4],
        "Dice (%) A 80.00 ^ 40.00 60.00 ^ 1 x 1",
        "B 70.00 (-10.00) 50.00 (+10.00) ^ 60.00 (+0.00) ^ 1 x 1",
        "HD (mm) A 9.00 5.00 7.00 1 x 1",
        "B 8.00 (-1.00) ^ 4.00 (-1.00) ^ 6.00 (-1.00) ^ 1 x 1",
    ]
    assert "in brackets: the gain" in text


def test_a_row_of_some_sections_stands_where_their_weights_are_tested():
    """Records, tables and labels agree on it: ``test_on`` of a section is a place of its rows."""
    study = read(ROOT / "protocols" / "pilot" / "acdc.yaml")
    records = pd.read_parquet(ROOT / "results" / "pilot" / "records" / "pilot_acdc.parquet")
    report = context_of(study, records, Extras())
    places = {(row, name) for row, name in records[["row", "section"]].drop_duplicates().to_numpy()}
    assert ("rotation2d", "tenth on own_sunnybrook") in places
    assert places == {
        (row, name)
        for row in study.rows
        for i, name in enumerate(study.sections)
        if report.has(row, i)
    }
    assert "Sunnybrook cardiac MR, trained on ACDC, no augmentation" in report.labels
    tested = [
        name
        for name, section in zip(study.sections, study.finetune, strict=True)
        if section.external
    ]
    assert "tenth on own_sunnybrook" in tested  # nothing trains there, so no loss is drawn
    runs = [Course("rotation2d", name, 100, 0, (1.0, 2.0), (2.0, 1.0)) for name in study.sections]
    (figure,) = (
        figure
        for figure in wanted(context_of(study, records, Extras(courses=tuple(runs))))
        if figure.name == "training"
    )
    assert len(figure.draw().axes) == len(runs) - len(tested)
