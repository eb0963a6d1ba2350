"""Columns, order, marks, holes and the published number beside ours."""

import csv
from dataclasses import replace

import pytest

from bench.protocol import Finetune, Layout, Net, Row, View
from bench.report import conclusion, not_run
from bench.report.captions import folded
from bench.report.common import APART
from bench.report.costs import sections as costs
from bench.report.footnotes import Footnotes
from bench.report.names import setting_words
from bench.report.numbers import MINUS, TIMES, difference, number
from bench.report.spreadsheet import table_csv
from bench.report.supplement import Cost, DatasetInfo, Extras, Failure, Leak
from bench.report.tables import tables
from bench.report.tabular import COUNTS
from bench.report.write import context_of, write

NAN = float("nan")


def build(protocol, records, **extras):
    return tables(context_of(protocol, records, Extras(**extras)))


def texts(table):
    return {line.row: [e.mean for e in line.entries] for line in table.lines}


def marks(table, column=0):
    return {line.row: line.entries[column].mark for line in table.lines}


def four(records, values, **given):
    return records(*({"row": r, "value": v, **given} for r, v in values.items()))


@pytest.fixture
def four_rows(protocol):
    return protocol(rows={r: Row("scratch", "net", title=r.upper()) for r in "abcd"})


def test_percent_with_two_decimals_and_mm_as_they_are():
    assert number(0.83847, "1") == "83.85"
    assert number(12.3456, "mm") == "12.35"
    assert tuple(difference(v, "mm") for v in (0.0, -1e-15, 0.004, -0.004, -1.5, 2)) == (
        *["+0.00"] * 3,
        f"{MINUS}0.00",  # an interval up to it holds no 0
        f"{MINUS}1.50",
        "+2.00",
    )


def section(steps=10, dataset="organs", **given):
    return Finetune(dataset=dataset, split="even", steps=steps, **given)


SCRATCH, VOCO = Row("scratch", "net"), Row("voco", "net")
MARKED = {  # rows, their values: the marks
    "a tie in print is a tie, and who comes after it third": (
        dict.fromkeys("abcd", SCRATCH),
        {"a": 0.80004, "b": 0.80001, "c": 0.7, "d": 0.6},
        {"a": "best", "b": "best", "c": "", "d": ""},
    ),
    "another network is judged by itself": (
        {"a": SCRATCH, "b": VOCO, "c": Row("scratch", "other"), "d": Row("voco", "other")},
        {"a": 0.5, "b": 0.6, "c": 0.8, "d": 0.7},
        {"a": "second", "b": "best", "c": "best", "d": "second"},
    ),
    "one row of a network has no rival": (
        {"a": SCRATCH, "b": VOCO, "c": Row("scratch", "other")},
        {"a": 0.5, "b": 0.6, "c": 0.8},
        {"a": "second", "b": "best", "c": ""},
    ),
    "another fine-tuning is no rival": (
        {"a": SCRATCH, "b": VOCO, "c": Row("voco", "net", finetune={"steps": 99})},
        {"a": 0.5, "b": 0.6, "c": 0.8},
        {"a": "second", "b": "best", "c": ""},
    ),
    "what only states a default or a label is no other fine-tuning": (
        {
            "a": Row("scratch", "net", finetune={"loss": "dice_ce", "accumulate": 2}),
            "b": Row("voco", "net"),
        },
        {"a": 0.5, "b": 0.6},
        {"a": "second", "b": "best"},
    ),
    "controls and last weights are no rivals": (
        {"a": SCRATCH, "b": VOCO},
        {"a": 0.5, "b": 0.6, "b (random)": 0.9, "b (shuffled)": 0.8, "a (last)": 0.95},
        {"a": "second", "b": "best", "b (random)": "", "b (shuffled)": "", "a (last)": ""},
    ),
}


@pytest.mark.parametrize("what", MARKED)
def test_marks_are_among_comparable_rows(protocol, records, what):
    rows, values, expected = MARKED[what]
    networks = {"net": Net("unetr"), "other": Net("unet")}
    built, _ = build(protocol(rows=rows, networks=networks), four(records, values))
    assert marks(built[0]) == expected
    assert (
        "Bold: best row of each network in each column; underlined: second best."
        in built[0].caption
    )


ALL = [
    {"row": row, "seed": seed, "case": case} for row in "abc" for seed in (0, 1) for case in "xy"
]
UNDEFINED = {"status": "both_empty", "value": NAN}
OTHERS = {  # records: who is marked; d ran nowhere
    "all of the same": (ALL, {"a": "second", "b": "second", "c": "best", "d": ""}),
    "a run of one row is missing": (
        [r for r in ALL if (r["row"], r["seed"]) != ("c", 1)],
        {"a": "best", "b": "best", "c": "", "d": ""},
    ),
    "a patient of one run is missing": (
        [r for r in ALL if r != {"row": "c", "seed": 1, "case": "y"}],
        {"a": "best", "b": "best", "c": "", "d": ""},
    ),
    "a patient of one run is undefined": (
        [{**r, **UNDEFINED} if r == {"row": "c", "seed": 1, "case": "y"} else r for r in ALL],
        {"a": "best", "b": "best", "c": "", "d": ""},
    ),
    "a row has one patient more": (
        [*ALL, *({"row": "c", "seed": s, "case": "z"} for s in (0, 1))],
        {"a": "best", "b": "best", "c": "", "d": ""},
    ),
    "a scan of a patient is undefined": (
        [
            {**r, **UNDEFINED}
            if r == {"row": "c", "seed": 1, "case": "y"}
            else {**r, "patient": "p"}
            for r in ALL
        ],
        {"a": "best", "b": "best", "c": "", "d": ""},
    ),
    "several pretrainings are of the same": (
        [*ALL, *({**r, "pretrain_seed": 1} for r in ALL if r["row"] == "c")],
        {"a": "second", "b": "second", "c": "best", "d": ""},
    ),
    "of several pretrainings one lacks a patient": (
        [*ALL, *({**r, "pretrain_seed": 1} for r in ALL if r["row"] == "c" and r["case"] == "x")],
        {"a": "best", "b": "best", "c": "", "d": ""},
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_marks_are_among_rows_whose_means_are_of_the_same_patients_runs_and_targets(
    four_rows, records, what
):
    rows, expected = OTHERS[what]
    value = {"a": 0.5, "b": 0.5, "c": 0.7}
    built, notes = build(four_rows, records(*({"value": value[r["row"]], **r} for r in rows)))
    table = next(t for t in built if t.lines[0].entries[0].sort is not None)
    assert marks(table) == expected
    noted = {
        line.row
        for line in table.lines
        for e in line.entries
        if notes.letters.get(APART, "-") in e.note
    }
    assert noted == ({"c"} if expected["c"] == "" else set())


def test_values_over_all_cases_at_once_are_compared_over_the_same_folds(protocol, records):
    """An AUC has no patients: b's is over one fold of two, and there both are the same."""
    pooled = {
        "dataset": "cc_ccii",
        "metric": "auc",
        "target": "all",
        "task": "classification",
        "case": "",
    }
    rows = [
        {**pooled, "row": r, "fold": f, "value": 0.9 - 0.4 * f}
        for r, f in (("a", 0), ("a", 1), ("b", 0))
    ]
    layout = Layout(views=(View(gain="a"),))
    pooled_protocol = protocol(
        finetune=(section(dataset="cc_ccii"),), metrics=("auc",), layout=layout
    )
    for missing, shown in (
        ([], ("", "")),
        ([{**rows[2], "fold": 1, "value": 0.6}], ("best", "+5.00")),
    ):
        built, notes = build(pooled_protocol, records(*rows, *missing))
        cell = built[0].lines[1].entries[0]
        assert (cell.mark, cell.gain) == shown and (APART in notes.letters) == (shown == ("", ""))


def test_the_mean_over_targets_is_marked_by_the_targets_too(four_rows, records):
    """Of the same patients and seeds, b lacks its second target in one of them: the mean of what is easy."""
    rows = [
        {"row": r, "target": t, "value": {"liver": 0.9, "spleen": 0.3}[t]}
        for r in "abc"
        for t in ("liver", "spleen")
    ]
    rows[3] |= UNDEFINED
    built, _ = build(four_rows, records(*rows))
    at = [c.label for c in built[0].columns].index("Mean")
    assert texts(built[0])["b"][at] == "90.00"
    assert marks(built[0], at) == {"a": "best", "b": "", "c": "best", "d": ""}


@pytest.mark.parametrize(
    ("metric", "unit", "values", "ranks", "expected"),
    [
        ("hd95", "mm", (3.0, 1.0, 2.0), ["", "best", "second", ""], "lower is better"),
        ("relative_volume_error", "1", (-0.1, 0.0, 0.2), [""] * 4, "not ranked"),  # it is signed
    ],
)
def test_the_best_distance_is_the_smallest(
    four_rows, records, metric, unit, values, ranks, expected
):
    scores = four(records, dict(zip("abc", values, strict=True)), metric=metric, unit=unit)
    table = build(four_rows, scores)[0][-1]
    assert (
        table.metrics == (metric,)
        and list(marks(table).values()) == ranks
        and expected in table.caption
    )


def test_no_sentence_on_marks_or_spread_where_there_are_none(protocol, records):
    built, _ = build(protocol(), records({}))
    assert marks(built[0])["a"] == ""  # a lone value is not best
    assert built[0].caption.endswith(
        f"is better. {COUNTS}: how many fine-tunings and test patients each number comes from."
    )
    assert "±" not in built[0].caption and "Bold" not in built[0].caption
    built, _ = build(protocol(), records({}, {"seed": 1}))
    assert "± standard deviation over runs" in built[0].caption


@pytest.mark.parametrize("layout", ["targets", "fractions", "datasets"])
def test_the_printed_number_stands_beside_one_of_two_sections(protocol, records, printed, layout):
    rows = {"a": Row("voco", "net", published="VoCo")}
    two = protocol(rows=rows, finetune=(section(1), section(60)), layout=Layout(columns=layout))
    table = records({"value": 0.1}, {"value": 0.9, "section": "organs#2"})
    built, _ = build(two, table, published=printed({}))
    cells = [cell for t in built for line in t.lines for cell in line.entries]
    assert [cell.mean for cell in cells] == ["10.00", "90.00"]
    assert [cell.published for cell in cells] == ["83.85", ""]
    if layout == "targets":
        titles = [f"Dice, organs ({name}), 100 % of labels" for name in ("organs", "organs#2")]
        assert [t.title for t in built] == titles


def test_fractions_of_the_same_patients_are_told_under_the_table(protocol, records):
    target = section(fractions=(5, 10, 50))
    rows = [{"fraction": f, "n_train": n} for f, n in ((5, 1), (10, 1), (50, 4))]
    built, _ = build(
        protocol(finetune=(target,), layout=Layout(columns="fractions")), records(*rows)
    )
    assert "organs: 5 % and 10 % of the labels are the same 1 patient." in built[0].caption
    built, _ = build(protocol(finetune=(target,)), records(*rows))
    assert ["same 1 patient" in t.caption for t in built] == [True, True, False]


GONE = {"row": "b", "status": "failed", "value": NAN, "target": "", "metric": ""}
NOTHING = {"status": "both_empty", "value": NAN}


@pytest.mark.parametrize(
    ("rows", "failures", "shown", "expected"),
    [
        (  # holes are typed
            [{"row": "a", "value": 0.5}, {**GONE, "job": "j1"}, {**NOTHING, "row": "c"}],
            [Failure("j1", "b", "out of memory", "log.txt", attempts=2)],
            {"a": "50.00", "b": "failed", "c": "undefined", "d": "—"},
            "1 run failed: out of memory (job j1, 2 attempts, log log.txt)",
        ),
        (  # of an evaluation whose scores lack
            [{**GONE, "job": "j1"}],
            [Failure("j1", "b", "run it again", "", "organs", 100, hole="not scored")],
            {"b": "not scored", "c": "—"},
            "1 run not scored: run it again (job j1)",
        ),
        (  # the job behind an evaluation, of its own fraction
            [{**GONE, "job": "j2"}],
            [
                Failure("j1", "b", "no shape", "", "organs", 100),
                Failure("j3", "b", "x", "", "organs", 5),
            ],
            {"b": "failed", "c": "—"},
            "1 run failed: no shape (job j1)",
        ),
        (  # a pretraining explains a row without any rows
            [{"row": "a", "value": 0.5}],
            [Failure("j9", "d", "loss became NaN", "")],
            {"a": "50.00", "d": "failed", "c": "—"},
            "loss became NaN (job j9)",
        ),
    ],
)
def test_a_hole_says_what_failed_behind_it(four_rows, records, rows, failures, shown, expected):
    built, notes = build(four_rows, records(*rows), failures=tuple(failures))
    assert {row: texts(built[0])[row] for row in shown} == {
        row: [text] for row, text in shown.items()
    }
    assert next(iter(notes.letters)) == expected


@pytest.mark.parametrize(
    ("dropped", "expected"), [(False, "kept, as the protocol says"), (True, "left out before")]
)
def test_test_cases_that_were_pretrained_on_are_named_at_the_mean(
    four_rows, records, dropped, expected
):
    both = [{"target": t, "row": r, "value": 0.5} for t in ("liver", "aorta") for r in "ab"]
    leak = Leak("b", "organs", 6, tuple(f"c{i} (content)" for i in range(12)), 14, dropped)
    built, notes = build(
        four_rows, records(*both), leaks=(leak, Leak("b", "elsewhere", 3, ("x",), 1))
    )
    ((text, letter),) = notes.letters.items()
    assert text.startswith(
        "12 of 6 test cases are also in the pretraining data, as 14 of its cases: c0 (c"
    )
    assert "c9 (content) ...; " in text and expected in text and "c10" not in text
    marked = {line.row: [e.note for e in line.entries] for line in built[0].lines}
    assert marked["a"] == ["", "", ""] and marked["b"] == ["", "", letter]


def test_a_row_whose_weights_lack_layers_is_marked_wherever_it_has_a_number(four_rows, records):
    both = [{"target": t, "row": r, "value": 0.5} for t in ("liver", "aorta") for r in "ab"]
    built, notes = build(four_rows, records(*both), gaps={"b": ("attention", "norms")})
    ((text, letter),) = notes.letters.items()
    assert text.endswith("lack these parts of the encoder, which start at random: attention, norms")
    marked = {line.row: [e.note for e in line.entries] for line in built[0].lines}
    assert marked["a"] == ["", "", ""] and marked["b"] == [letter] * 3


def test_a_metric_has_no_table_on_data_it_does_not_judge(protocol, records):
    both = (section(), section(dataset="cc_ccii"))
    classes = {
        "dataset": "cc_ccii",
        "metric": "accuracy",
        "target": "all",
        "task": "classification",
    }
    table = records({"metric": "dice"}, classes)
    built, _ = build(protocol(finetune=both, metrics=("dice", "accuracy")), table)
    assert [(t.metrics, [c.label for c in t.columns]) for t in built] == [
        (("dice",), ["liver"]),
        (("accuracy",), ["all"]),
    ]


def test_a_deviating_n_is_footnoted(protocol, records):
    alike = [{"target": t} for t in ("liver", "aorta", "spleen")]
    built, notes = build(protocol(), records(*alike, {"target": "spleen", "case": "c2"}))
    line = built[0].lines[0]
    assert line.n.split() == ["1", TIMES, "1"]
    noted = [c.label for c, e in zip(built[0].columns, line.entries, strict=True) if e.note]
    assert noted == ["spleen", "Mean"]
    assert all(f"{COUNTS.lower()}: 1\xa0{TIMES}\xa02" in text for text in notes.letters)


def test_rows_keep_the_protocols_order_within_its_groups_their_variants_under_them(
    protocol, records
):
    rows = {
        r: Row("voco", "net", title=t)
        for r, t in (("z", ""), ("b", "B"), ("x (y)", ""), ("a", "A"))
    }
    met = ("z", "stray", "x (y) (random)", "a (shuffled)", "a (random)", "a (random) (last)")
    layout = Layout(groups={"Late": ("a", "z")})
    built, _ = build(protocol(rows=rows, layout=layout), records(*({"row": r} for r in met)))
    groups = [(heading, [line.row for line in lines]) for heading, lines in built[0].groups]
    assert groups == [
        ("", ["b", "x (y)", "x (y) (random)", "stray"]),
        ("Late", ["z", "a", "a (random)", "a (random) (last)", "a (shuffled)"]),
    ]
    shown = {line.row: line.labels for line in built[0].lines}
    assert shown["a (random) (last)"] == ("A (random) (last)", "net")
    assert shown["x (y) (random)"] == ("voco (random)", "net")


def test_rows_that_would_read_alike_are_told_apart(protocol, records):
    rows = {"a": Row("voco", "net"), "b": Row("voco", "net"), "c": Row("voco", "other")}
    networks = {"net": Net("unetr"), "other": Net("unet")}
    built, _ = build(protocol(rows=rows, networks=networks), records({}), titles={"voco": "VoCo"})
    assert [line.labels[0] for line in built[0].lines] == ["VoCo (a)", "VoCo (b)", "VoCo"]
    assert built[0].stubs == ("Method", "Network")
    assert build(protocol(), records({}))[0][0].stubs == ("Method",)


@pytest.mark.parametrize(
    ("columns", "finetune", "low", "high", "labels"),
    [
        ("fractions", [section(fractions=(10, 100))], {"fraction": 10}, {}, ["10 %", "100 %"]),
        (
            "datasets",
            [section(), section(dataset="hearts")],
            {},
            {"dataset": "hearts"},
            ["organs", "hearts"],
        ),
    ],
)
def test_such_columns_hold_the_mean_over_targets(
    protocol, records, columns, finetune, low, high, labels
):
    rows = [{"value": 0.2, **low}, {"target": "aorta", "value": 0.4, **low}, {"value": 0.7, **high}]
    built, _ = build(
        protocol(finetune=tuple(finetune), layout=Layout(columns=columns)), records(*rows)
    )
    assert [c.label for c in built[0].columns] == labels
    assert texts(built[0])["a"] == ["30.00", "70.00"]


def test_target_columns_make_one_table_per_fraction_and_metric(protocol, records):
    target, metrics = section(fractions=(10, 100)), ("dice", "nsd@1mm", "hd95")
    built, _ = build(protocol(finetune=(target,), metrics=metrics), records({}))
    titles = [
        f"{m}, organs, {f} % of labels" for m in ("Dice", "NSD @ 1 mm", "HD95") for f in (10, 100)
    ]
    assert [t.title for t in built] == titles


TWICE = ({"note": "from scratch"}, {"value": "80.00", "note": "pretrained"})
OTHER = (
    {"dataset": "btcv"},
    {"target": "spleen"},
    {"fraction": "10"},
    {"metric": "iou"},
    {"table": "table2"},
    {"method": "VoCo v2"},
    {"value": "n/a"},
)


@pytest.mark.parametrize(
    ("lines", "published", "shown"),
    [
        ([{}], "VoCo", ("83.85", "+0.66")),
        ([{"dagger": "yes"}], "VoCo", ("83.85†", "+0.66")),
        ([{"value": 86.0, "fraction": 100}], "VoCo", ("86.00", f"{MINUS}1.49")),
        ([{"target": "AVG"}], "VoCo", ("83.85", "+0.66")),  # of one target
        (TWICE, "VoCo|pretrained", ("80.00", "+4.51")),
        (TWICE, "VoCo", ("", "")),  # in doubt nothing
        *(([other], "VoCo", ("", "")) for other in OTHER),
    ],
)
def test_the_papers_cell_and_ours_minus_it(protocol, records, printed, lines, published, shown):
    rows = {"a": Row("scratch", "net"), "b": Row("voco", "net", published=published)}
    table = records({"value": 0.8}, {"row": "b", "value": 0.8451})
    built, _ = build(protocol(rows=rows), table, published=printed(*lines))
    cell = built[0].lines[1].entries[0]
    assert (cell.published, cell.difference) == shown


def test_a_row_that_lacks_folds_is_not_subtracted_from_the_papers_number(
    protocol, records, printed
):
    """In no form of the table: the rest of a failed study is of other patients than the paper's number."""
    rows = {"a": Row("scratch", "net", published="A"), "b": Row("voco", "net", published="VoCo")}
    table = records(
        *(
            {"row": r, "fold": f, "case": f"c{f}", "value": 0.8}
            for r, f in (("a", 0), ("a", 1), ("b", 0))
        ),
        {**GONE, "fold": 1, "job": "j1"},
    )
    extras = Extras(published=printed({"method": "A"}, {}))
    context = context_of(protocol(rows=rows), table, extras)
    built, _ = tables(context)
    assert [line.entries[0].difference for line in built[0].lines] == [f"{MINUS}3.85", ""]
    lines = list(csv.DictReader(table_csv(context).splitlines()))
    assert {(line["row"], line["difference"]) for line in lines if line["published"]} == {
        ("a", "-0.038500"),
        ("b", ""),
    }


def test_spellings_of_one_organ_meet(protocol, records, printed):
    frame = printed({"target": "right_adrenal_gland"}, {"target": "esophagus", "value": "70.10"})
    rows = {"a": Row("voco", "net", published="VoCo")}
    table = records({"target": "right adrenal"}, {"target": "oesophagus"})
    built, _ = build(protocol(rows=rows), table, published=frame)
    published = {
        c.label: e.published
        for c, e in zip(built[0].columns, built[0].lines[0].entries, strict=True)
    }
    assert published == {"oesophagus": "70.10", "right adrenal": "83.85", "Mean": ""}


def test_footnote_letters_go_on_after_z():
    notes = Footnotes()
    letters = [notes.mark(str(i)) for i in range(28)]
    assert (letters[0], *letters[25:]) == ("a", "z", "aa", "ab")
    assert (notes.mark("3"), notes.mark("")) == ("d", "")


def test_what_nobody_ran_is_left_out_and_said_once(four_rows, records, tmp_path):
    """The list ends where a person stops reading; a failed row stays, with its reason."""
    at = replace(four_rows, finetune=(section(fractions=(5, 100)),), metrics=("dice", "hd95"))
    study = context_of(at, records({"value": 0.5, "fraction": 5}), Extras())
    (table,), _ = tables(study, ran=True)
    assert texts(table) == {"a": ["50.00"]}
    said = "1 of 4 rows was run. Not run: B; C; D. Not run with these shares of the labels: 100 %."
    assert not_run.sentence(study) == said and said.endswith(not_run.names(study))
    text = write(at, records({"value": 0.5, "fraction": 5}), tmp_path, figures=False).text
    assert text.count("Not run: ") == 1 and "—" not in text and "HD95" not in text
    (before, *_), _ = tables(study)
    assert texts(before)["b"] == ["—"]  # of those that ask for all rows
    failed = Extras(failures=(Failure("j1", "b", "out of memory", "log.txt"),))
    broken = context_of(at, records({"value": 0.5, "fraction": 5}), failed)
    assert not_run.sentence(broken).startswith("2 of 4 rows were run. Not run: C; D.")
    assert not_run.sentence(context_of(at, records(), Extras())) == "None of 4 rows was run yet."
    both = records(*({"row": row, "fraction": f} for row in "abcd" for f in (5, 100)))
    assert not_run.sentence(context_of(at, both, Extras())) == ""
    names = [*"abcdefghijklmn"]
    assert not_run.listed(names) == "; ".join(names[:11]) + " and 3 more"
    assert not_run.listed(names[:12]) == "; ".join(names[:12])


def test_a_page_says_above_all_else_which_methods_have_not_run(protocol, records, tmp_path):
    """Its title may promise them."""
    methods = {"b": "voco", "c": "mae3d", "d": "simmim3d"}
    rows = {"a": Row("scratch", "net", title="A")}
    rows |= {name: Row(method, "net", title=name.upper()) for name, method in methods.items()}
    rows["top"] = Row("supervised", "net", title="Top", ceiling=True)
    scored = records({"value": 0.5}, {"row": "b", "value": 0.5})
    at = protocol(rows=rows, about="Three methods.")
    text = "1 of 3 methods has run; not yet: C; D. Not run: Top."
    assert not_run.names(context_of(at, scored, Extras())) == text
    page = write(at, scored, tmp_path, figures=False).page.read_text()
    assert page.index("<h1>") < page.index(text) < page.index(at.about)
    rows["d"] = replace(rows["d"], method="voco")  # rows, then, are no methods
    text = not_run.names(context_of(protocol(rows=rows), scored, Extras()))
    assert text.startswith("1 of 3 pretrained rows has run; not yet: C; D.")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (
            "8 of 8 runs chose loaded: frozen 0.9 with rate 2e-05. Mean",
            "8 of 8 runs chose loaded weights frozen for 90 % of the steps then rate 2e-05. Mean",
        ),
        (
            "loaded: the defaults, rate 0.0002 with frozen 0.33; norm: kept",
            "loaded weights as the section sets them, frozen for 33 % of the steps then rate 0.0002; norm: kept",
        ),
    ],
)
def test_settings_that_a_row_chose_are_printed_in_plain_words(text, plain):
    assert setting_words(text) == plain


def test_a_row_that_takes_nothing_of_a_pretraining_has_no_cost_of_it(protocol, records):
    """The plan has it wait for the ceiling that it is a dose of."""
    control = Row("supervised", "net", ceiling=True, title="Top")
    rows = {"a": Row("scratch", "net"), "top": control, "none": replace(control, dose=0.0)}
    spent = tuple(
        Cost(row, stage, 1.0, None)
        for row in ("top", "none")
        for stage in ("finetune", "pretrain (8 jobs)")
    )
    study = context_of(protocol(rows=rows), records({}), Extras(costs=spent))
    (section,) = costs(study)
    stages = [cell.mean for line in section.parts[0].lines for cell in line.entries[:1]]
    assert stages == ["finetune", "pretrain (8 jobs)", "finetune"]


def test_two_tables_of_holes_are_one(four_rows, records):
    failed = {"target": "", "metric": "", "status": "failed", "value": NAN, "job": "j1"}
    why = (Failure("j1", "a", "out of memory", "log.txt"),)
    at = replace(four_rows, metrics=("dice", "hd95"))
    study = context_of(at, records(failed), Extras(failures=why))
    built, _ = tables(study, ran=True)
    assert [texts(table) for table in built] == [{"a": ["failed"]}] and len(tables(study)[0]) == 2


@pytest.mark.parametrize("synthetic", [True, False])
def test_beside_synthetic_scans_no_difference_to_a_published_number_is_printed(
    protocol, records, printed, synthetic
):
    rows = {"a": Row("voco", "net", published="VoCo")}
    of = DatasetInfo("organs", "Organs", targets=("liver",), synthetic=synthetic)
    at, table = protocol(rows=rows), records({"value": 0.5})
    built, _ = build(at, table, published=printed({"dagger": "1"}), datasets=(of,))
    (cell,) = (entry for line in built[0].lines for entry in line.entries)
    expected = "" if synthetic else f"{MINUS}33.85"
    assert (cell.published, cell.difference) == ("83.85†", expected)
    assert built[0].below == ("published" if synthetic else f"published (ours {MINUS} published)")
    assert "†: the paper's authors ran this row themselves" in built[0].caption
    study = context_of(at, table, Extras(published=printed({}), datasets=(of,)))
    line = next(row for row in csv.DictReader(table_csv(study).splitlines()) if row["mean"])
    assert line["difference"] == ("" if synthetic else "-0.338500")


CAPTIONS = {  # a caption: what stands under the table, and what behind "More on this table"
    "short": ("One. Two.", "One. Two.", ""),
    "long": (f"{'a' * 120}. B. {'C' * 120}. D.", f"{'a' * 120}. B.", f"{'C' * 120}. D."),
    "one sentence": ("a" * 500, "a" * 500, ""),
    "numbers and names": (f"p < 0.05. {'By Wu et al. S' + 'x' * 230}.", "p < 0.05.", f"By Wu et al. S{'x' * 230}."),
    "none": ("", "", ""),
}  # fmt: skip


@pytest.mark.parametrize(("caption", "lines", "more"), CAPTIONS.values(), ids=CAPTIONS)
def test_a_caption_is_two_lines_and_the_rest_is_folded(caption, lines, more):
    assert folded(caption) == (lines, more)


@pytest.mark.parametrize(
    ("evaluation", "fraction", "values", "said"),
    [
        ("probe", 100, (0.5, 0.5), True),
        ("probe", 100, (0.5, 0.6), False),
        ("probe", 20, (0.5, 0.5), False),  # of other patients
        ("end_to_end", 100, (0.5, 0.5), False),
    ],
)
def test_equal_draws_of_all_patients_are_explained(
    protocol, records, evaluation, fraction, values, said
):
    one = {"row": "a", "fraction": fraction, "evaluation": evaluation}
    table = records(*({**one, "seed": n, "value": v} for n, v in enumerate(values)))
    sections = (section(evaluation=evaluation, fractions=(fraction,), seeds=(0, 1)),)
    built = build(protocol(finetune=sections), table)[0][0]
    assert ("every draw has the same patients" in built.caption) == said


@pytest.mark.parametrize(
    ("names", "row", "expected"),
    [
        ("a", VOCO, ""),
        ("ab", VOCO, conclusion.ALONE),
        ("ab", SCRATCH, conclusion.SCRATCH_ALONE),
        ("ab", replace(SCRATCH, init="file.pt"), conclusion.ALONE),
    ],
)
def test_where_nothing_is_compared_a_page_of_several_rows_says_why(
    protocol, records, names, row, expected
):
    read = protocol(rows=dict.fromkeys(names, row))
    report = context_of(read, four(records, dict.fromkeys(names, 0.8)), Extras())
    assert conclusion.sentence(report, ()).text == expected
