"""What is said beside scratch: which rows are compared, in which family, and what pages and files print."""

import csv
import html
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench import stats
from bench.protocol import Finetune, Layout, Net, Row, View
from bench.protocol.sections import Group, Tune
from bench.report import write as report
from bench.report.cells import MEAN, Key
from bench.report.conclusion import (
    _region,
    dose_figures,
    forest_figures,
    how,
    next_step,
    reason,
    sentence,
    settles,
    verdict_tables,
)
from bench.report.index import indexed
from bench.report.index import write as write_index
from bench.report.numbers import p_value
from bench.report.ranking import across, rankings
from bench.report.sensitivity import sensitivity
from bench.report.supplement import Extras, Failure, Registered
from bench.report.survival import sections as survivals
from bench.report.survival import survives
from bench.report.tables import tables
from bench.report.verdicts import compare, differences, positive_control, verdicts
from bench.report.worst import sections as worst
from bench.report.write import context_of
from bench.stats.power import detectable, noise_of

PATIENTS, SEEDS = 12, (0, 1, 2)
ROWS = {
    "a": Row("scratch", "net", title="A"),
    "b": Row("voco", "net", title="B"),
    "c": Row("mae3d", "net", title="C"),
    "d": Row("simmim3d", "net", title="D"),
}


def scores(
    row: str, gain: float, pretrainings=(0, 1, 2), seeds=SEEDS, noise=0.002, **given
) -> list[dict]:
    """Rows of patients that differ by 0.1 at random, ``gain`` above them, ``noise`` in every number."""
    rng = np.random.default_rng(sum(map(ord, row)))
    hard = np.random.default_rng(0).normal(0.6, 0.1, PATIENTS)
    return [
        {
            "row": row,
            "pretrain_seed": p,
            "seed": s,
            "case": f"c{i:02d}",
            "value": float(hard[i] + gain + rng.normal(0, noise)),
            **given,
        }
        for p in pretrainings
        for s in seeds
        for i in range(PATIENTS)
    ]


@pytest.fixture
def context(protocol, records):
    """Return a function from rows of records to what a report is drawn from."""

    def build(*rows, **changes):
        return context_of(protocol(**{"rows": ROWS, **changes}), records(*rows), Extras())

    return build


@pytest.fixture
def usual():
    """Records of scratch, of a better, an equivalent and a worse row."""
    return [*scores("a", 0.0, (0,)), *scores("b", 0.05), *scores("c", 0.0), *scores("d", -0.05)]


def test_rows_that_have_not_run_yet_count_in_the_family_of_those_that_have(context, usual):
    begun = context(*[row for row in usual if row["row"] in "ab"])
    (whole,), (part,) = verdicts(context(*usual)), verdicts(begun)
    (row,) = part.rows
    of_whole = next(other for other in whole.rows if other.key.row == "b")
    assert (whole.waiting, part.waiting) == (0, len(whole.rows) - 1)
    assert row.judged.p >= of_whole.judged.p
    assert row.judged.p == pytest.approx(len(whole.rows) * row.judged.comparison.p)
    assert part.rows[0].judged.family == len(whole.rows) == whole.rows[0].judged.family
    assert "what has not run yet counts as p = 1" in how([part])
    assert "not run yet" not in how([whole])


def test_rows_stand_beside_their_own_scratch_the_largest_difference_first(context, usual):
    (group,) = verdicts(context(*usual))
    assert [(row.key.row, row.judged.verdict) for row in group.rows] == [
        ("b", "better"),
        ("c", "equivalent"),
        ("d", "worse"),
    ]
    row = group.rows[0]
    assert row.difference == pytest.approx(0.05, abs=0.002)
    assert (row.judged.comparison.pretrainings, row.judged.comparison.seeds) == (3, 3)
    assert row.check[0] < row.difference < row.check[1] and np.isnan(row.flips)
    assert group.counted() == {"better": 1, "worse": 1, "equivalent": 1}


def test_a_difference_is_of_the_targets_that_both_have_and_distances_turn_their_sign(context):
    base = {"metric": "hd95", "unit": "mm"}
    rows = [
        {"row": r, "target": t, "value": v, "case": c, **base}
        for r, t, c, v in [
            ("a", "liver", "1", 5.0),
            ("a", "spleen", "1", 9.0),
            ("a", "liver", "2", 2.0),
            ("b", "liver", "1", 4.0),
            ("b", "liver", "2", 5.0),
            ("b", "spleen", "2", 1.0),
        ]
    ]
    paired = differences(
        context(*rows, metrics=("hd95",)),
        Key("b", 0, 100, MEAN, "hd95"),
        Key("a", 0, 100, MEAN, "hd95"),
    )
    assert paired is not None
    assert paired[0].tolist() == [[1.0], [-3.0]]  # spleen: defined for one of the two alone


def test_one_pretraining_and_weights_from_a_file_are_weights_only(context):
    rows = {**ROWS, "c": Row("mae3d", "net", title="C", init="weights.pt")}
    study = context(
        *scores("a", 0.0, (0,)), *scores("b", 0.3, (0,)), *scores("c", 0.3, (0, 1)), rows=rows
    )
    (group,) = verdicts(study)
    assert {row.key.row: row.judged.verdict for row in group.rows} == dict.fromkeys(
        "bc", "these weights only"
    )
    text = sentence(study, [group]).with_command
    assert text.startswith(
        "No conclusion about the methods: each of the 2 comparisons with scratch"
    )
    step = "Next step: add seeds (bench run ... --set finetune.seeds=[0,1,2] --set pretrain.seeds=paired)."
    assert text.endswith(step.replace("--set finetune.seeds=[0,1,2] ", ""))
    files = [row for row in group.rows if row.key.row == "c"]
    step_of_files = "Next step: add weights of other pretrainings, each as a row of its own."
    assert next_step(study, files).with_command == step_of_files
    one = context(*scores("a", 0.0, (0,), (0,)), *scores("b", 0.3, (0,), (0,)))
    assert sentence(one, verdicts(one)).with_command.endswith(step)
    assert group.rows[0].flips == pytest.approx(2 / 2**PATIENTS)
    assert (
        "these weights alone: better" in verdict_tables(study, [group])[0].lines[0].entries[0].tip
    )


def test_one_pretraining_beside_several_of_another_method_is_of_weights_and_scratch_is_not(context):
    study = context(*scores("a", 0.0, (0,)), *scores("b", 0.3), *scores("c", 0.0, (0,)), rows=ROWS)
    said = {
        pair: compare(study, Key(pair[0], 0, 100, MEAN, "dice"), pair[1])
        for pair in ("ba", "bc", "cb")
    }
    verdict = {pair: row.judged.verdict for pair, row in said.items()}
    assert verdict == {"ba": "better", "bc": "these weights only", "cb": "these weights only"}
    assert said["ba"].judged.comparison.pretrainings == 3


@pytest.mark.parametrize(("runs", "end"), [((0,), "result."), ((0, 1, 2), "result (for B).")])
def test_under_a_plot_it_is_said_of_which_rows_a_verdict_is_of_weights_only(context, runs, end):
    study = context(*scores("a", 0.0, (0,)), *scores("b", 0.3, (0,)), *scores("c", 0.3, runs))
    (table,) = verdict_tables(study, verdicts(study))
    assert " One pretraining: " in table.caption
    # d ran nowhere: the page says so once
    assert table.caption.endswith(f"may give a different {end}")


def test_controls_are_a_family_of_their_own_and_what_is_tuned_otherwise_is_left_out(context, usual):
    rows = {**ROWS, "d": Row("simmim3d", "net", title="D", finetune={"steps": 99})}
    control = scores("b (random)", 0.0)
    (group,) = verdicts(context(*usual, *control, rows=rows, baseline="unequal"))
    assert [row.key.row for row in group.rows] == ["b", "c"]
    assert [row.key.row for row in group.controls] == ["b (random)"]
    assert group.aside == ("“D” (fine-tuned differently from scratch)",)
    alone = group.controls[0].judged
    assert alone.p == alone.comparison.p  # the only one of its family


def test_a_control_that_is_scratch_run_by_run_is_not_compared_with_it(context, usual):
    same = [{**row, "row": "b (random)"} for row in usual if row["row"] == "a"]
    (group,) = verdicts(context(*usual, *same, *scores("b (shuffled)", 0.0)))
    assert [row.key.row for row in group.controls] == ["b (shuffled)"]
    assert group.aside == (
        "“B (random)” (starts from random weights and scores the same as scratch in every run)",
    )
    (table,) = verdict_tables(context(*usual, *same), [group])
    assert table.caption.endswith(f"Left out: {group.aside[0]}.")


def test_a_row_that_failed_is_not_called_not_run(context, usual):
    failures = (
        Failure("j1", "b", "out of memory", "log.txt"),
        Failure("j2", "c", "out of memory", "log.txt", section="organs", fraction=10, seed=0),
    )
    report = replace(
        context(*(row for row in usual if row["row"] in "ad")), extras=Extras(failures=failures)
    )
    (group,) = verdicts(report)
    assert group.aside == ("“B” (failed)", "“C” (not run yet)")  # C failed at another fraction
    (table,) = verdict_tables(report, [group])
    assert table.caption.endswith("Left out: “B” (failed); “C” (not run yet).")


def test_a_family_is_of_one_place(context, usual):
    more = [{**row, "fraction": 10} for row in usual if row["row"] in "ab"]
    tuned = Finetune(dataset="organs", split="even", steps=10, fractions=(10, 100))
    few, many = verdicts(context(*usual, *more, finetune=(tuned,)))
    assert [group.fraction for group in (few, many)] == [10, 100]
    assert few.aside == ("“C” (not run yet)", "“D” (not run yet)")
    (row,) = few.rows  # two rows of that place have not run
    assert row.judged.p == pytest.approx(3 * row.judged.comparison.p)
    # the smallest of 3
    assert many.rows[0].judged.p == pytest.approx(3 * many.rows[0].judged.comparison.p)


def test_what_may_tell_is_said_only_where_neither_the_family_nor_the_row_alone_tells():
    gained = np.random.default_rng(0).normal(0.02, 0.06, (8, 3))
    alone = stats.compared(gained, [0, 1, 2], 0.01, seeds=[0, 1, 2])
    advice = {}
    few = stats.compared(gained[:5], [0, 1, 2], 0.01, seeds=[0, 1, 2])
    of_few = SimpleNamespace(judged=stats.Judged(few, 1.0, few.verdict, why=few.why))
    assert settles(of_few) == "to say more, test 6 patients or more"
    for verdict in ("not separable", "better", "equivalent"):
        judged = stats.Judged(replace(alone, verdict=verdict), 1.0, "not separable")
        advice[verdict] = settles(SimpleNamespace(judged=judged)).partition(",")[0]
    assert advice == {
        "not separable": "to settle a single comparison",
        "better": "",
        "equivalent": "",
    }


def test_published_differences_stand_beside(protocol, records, printed, usual):
    lines = printed(
        {"method": "A", "target": "mean", "value": "80.0"},
        {"method": "VoCo", "target": "mean", "value": "83.5"},
    )
    rows = {
        "a": Row("scratch", "net", title="A", published="A"),
        "b": Row("voco", "net", published="VoCo"),
    }
    usual = [row for row in usual if row["row"] in rows]
    study = context_of(protocol(rows=rows), records(*usual), Extras(published=lines))
    (group,) = verdicts(study)
    assert group.rows[0].published == pytest.approx(0.035)
    assert verdict_tables(study, [group])[0].lines[0].entries[0].published == "+3.50"


def test_ranks_and_pairs_are_of_rows_that_are_alike(context, usual):
    (ranking,) = rankings(context(*usual))
    lines = [line.words for line in ranking.table.lines]
    assert lines[0][0] == "B" and lines[0][2] == "1" and lines[0][4] == "100 %"
    assert lines[-1][0] == "D" and lines[-1][-1] == "worse"
    signs = [line.words[1:] for line in ranking.pairs.lines]
    assert signs[0] == ("", "▲", "▲", "▲") and signs[-1] == ("▼", "▼", "▼", "")
    other = {**ROWS, "c": Row("mae3d", "net", title="C", finetune={"steps": 99})}
    assert [
        len(ranked.table.lines)
        for ranked in rankings(context(*usual, rows=other, baseline="unequal"))
    ] == [3]


def test_ranks_of_one_run_have_neither_an_interval_nor_a_share_of_draws_and_it_is_said(
    context, protocol, records, tmp_path
):
    """The row that is the best in all draws of the patients is so for this seed alone."""
    single = [
        row
        for r, gain in zip("abcd", (0, 0.05, 0, -0.05), strict=True)
        for row in scores(r, gain, (0,), (0,))
    ]
    (ranking,) = rankings(context(*single))
    assert [line.words[2:5] for line in ranking.table.lines[::3]] == [("1", "", ""), ("4", "", "")]
    assert ranking.settled.startswith("no rank intervals: every row has one run")
    assert (
        ranking.settled
        in report.write(
            protocol(rows=ROWS), records(*single), tmp_path, figures=False
        ).page.read_text()
    )
    more = [row for r in "abc" for row in scores(r, 0, (0,), (0, 1))]
    # then all are ranked in that run
    (ranking,) = rankings(context(*more, *scores("d", -0.05, (0,), (0,))))
    assert "every row has one run" in ranking.settled
    assert {line.words[3] for line in ranking.table.lines} == {""}
    (ranking,) = rankings(context(*more))
    assert (
        all(line.words[3] for line in ranking.table.lines)
        and "The rank intervals overlap in " in ranking.settled
    )


def test_ranks_and_pairs_are_over_what_all_rows_have(context):
    """b lacks the six hard patients of twelve; over the others it is the worst of all."""
    gains = {"a": 0.0, "b": -0.01, "c": 0.02, "d": 0.01}
    rows = [row for r, gain in gains.items() for row in scores(r, gain, (0,), (0, 1), noise=0)]
    hard = sorted(
        {row["case"] for row in rows},
        key=lambda c: next(r["value"] for r in rows if r["case"] == c),
    )
    part = [row for row in rows if row["row"] != "b" or row["case"] in hard[6:]]
    (ranking,) = rankings(context(*part))
    lines = [line.words for line in ranking.table.lines]
    assert [words[0] for words in lines] == ["C", "D", "A", "B"]
    easy = [row["value"] for row in rows if row["row"] == "c" and row["case"] in hard[6:]]
    assert lines[0][1] == f"{100 * np.mean(easy):.2f}"
    assert [words[5].split(" ")[0] for words in lines] == [
        "",
        "\u22121.00",
        "\u22122.00",
        "\u22123.00",
    ]
    names = ("organs", "hearts")
    tuned = tuple(Finetune(dataset=name, split="even", steps=10) for name in names)
    (table,) = across(
        context(*({**row, "dataset": name} for name in names for row in part), finetune=tuned)
    )
    assert [line.words[0] for line in table.lines] == ["C", "D", "A", "B"]


@pytest.mark.parametrize(
    ("patients", "gain", "why"),
    [
        (5, 0.19, "too few patients: with 5 patients p cannot be below 0.062"),
        (
            8,
            0.19,
            "too few patients: with 8 patients p cannot be below 0.0078, so with 8 comparisons "
            "no adjusted p can be below 0.05",
        ),
        (12, 0.19, ""),
    ],
)
def test_a_verdict_that_its_interval_contradicts_says_why_on_its_line(
    context, protocol, records, tmp_path, patients, gain, why
):
    """+19 [+18 to +20] beside "not separable" is no contradiction: so few patients allow no small p."""
    names = "bcdefghi"
    compared = {"a": Row("scratch", "net", title="A")} | {
        n: Row("voco", "net", title=n.upper()) for n in names
    }
    rows = [*scores("a", 0.0, (0,))] + [row for n in names for row in scores(n, gain)]
    rows = [row for row in rows if row["case"] < f"c{patients:02d}"]
    study = context(*rows, rows=compared)
    (table,) = verdict_tables(study, verdicts(study))
    assert {line.words[3] for line in table.lines} == {
        f"not separable ({why})" if why else "better"
    }
    none = " With 5 patients no row can be called better or worse."
    assert sentence(study, verdicts(study)).text.endswith(none) is (patients == 5)
    paths = report.write(protocol(rows=compared), records(*rows), tmp_path, figures=False)
    if why:
        for text in (paths.markdown.read_text(), paths.tex.read_text(), paths.text):
            lines = [line for line in text.splitlines() if "+19." in line and "to" in line]
            assert len(lines) == 8 and all(why in line for line in lines)
        assert html.unescape(paths.page.read_text()).count(f'<span class="why">({why})</span>') == 8
        assert all(
            why in line.words[6]
            for line in rankings(study)[0].table.lines
            if "+19" in line.words[5]
        )
        (figure,) = forest_figures(study, verdicts(study))
        texts = [t.get_text() for ax in figure.draw().axes for t in ax.texts]
        assert texts.count("not separable (too few patients)") == 8


def test_of_one_run_of_five_patients_it_is_said_too(context):
    rows = [row for r, gain in (("a", 0.0), ("b", 0.19)) for row in scores(r, gain, (0,), (0,))]
    study = context(*(row for row in rows if row["case"] < "c05"))
    (line,) = verdict_tables(study, verdicts(study))[0].lines
    assert line.words[1].startswith("+19") and line.words[2].startswith("+1")
    few = "not separable, too few patients: with 5 patients p cannot be below 0.062"
    assert line.entries[-2].gain == few
    three = context(
        *(
            row
            for r, g in (("a", 0.0), ("b", 0.19))
            for row in scores(r, g, (0,))
            if row["case"] < "c05"
        )
    )
    (line,) = verdict_tables(three, verdicts(three))[0].lines  # by the model its p is small
    assert line.entries[-3].gain == few


def test_a_difference_that_holm_takes_back_says_so_on_its_line():
    noise = np.random.default_rng(1).normal(0, 0.03, (12, 3))
    every = [
        stats.compared(noise - noise.mean() + gain, rope=None)
        for gain in np.linspace(0.01, 0.06, 60)
    ]
    alone = next(c for c in every if 0.03 < c.p < 0.04)
    assert alone.low > 0  # alone it is better
    judged = stats.judged([alone, replace(alone, p=0.9), replace(alone, p=0.9)])
    assert (
        judged[0].verdict == "not separable"
        and reason(judged[0]) == f"p after Holm is {3 * alone.p:.2f}"
    )
    assert reason(stats.judged([alone])[0]) == ""


def test_the_worst_cases_are_those_of_the_lowest_mean_over_rows(context, usual):
    ((table,),) = (section.parts for section in worst(context(*usual)))
    hard = np.random.default_rng(0).normal(0.6, 0.1, PATIENTS)
    assert [line.words[0] for line in table.lines] == [
        f"patient of c{i:02d}" for i in np.argsort(hard)[:5]
    ]
    assert table.lines[0].words[2].startswith("B ") and table.lines[0].words[3].startswith("D ")
    tuned = Finetune(dataset="organs", split="even", steps=10, fractions=(10, 100))
    few = [{**row, "fraction": 10} for row in usual]
    # where most rows are; all of them: with most labels
    for more, fraction in (("a", 10), ("abcd", 100)):
        full = [row for row in usual if row["row"] in more]
        ((table,),) = (section.parts for section in worst(context(*few, *full, finetune=(tuned,))))
        assert f"{fraction} % of the labels" in table.title


def test_one_row_alone_has_no_worst_cases(context):
    """It would be the best row and the worst row."""
    assert worst(context(*scores("a", 0.0))) == []


def test_a_command_stands_in_the_closed_part_of_a_page(protocol, records, tmp_path):
    one = [*scores("a", 0.0, (0,), (0,)), *scores("b", 0.3, (0,), (0,))]
    page, markdown, *_ = written(protocol, records, one, tmp_path, rows=ROWS)
    (sentence,) = re.findall('<p class="sentence">(No conclusion.*?)</p>', page, re.DOTALL)
    assert sentence.endswith("Next step: add seeds.")
    closed = page.partition("How these numbers were computed")[2].partition("</details>")[0]
    assert "Next step: bench run ... --set" in closed
    assert "add seeds (bench run ... --set" in markdown


def test_a_worst_case_says_over_how_many_rows_its_mean_is(context, usual):
    hard = f"c{int(np.argmin(np.random.default_rng(0).normal(0.6, 0.1, PATIENTS))):02d}"
    part = [row for row in usual if row["row"] != "b" or row["case"] != hard]
    ((table,),) = (section.parts for section in worst(context(*part)))
    first, second = (line.words for line in table.lines[:2])
    assert (
        first[0].endswith(hard) and first[1].endswith(" (3 of 4 rows)") and "rows)" not in second[1]
    )


def test_over_data_sets_each_counts_once(context, protocol, records, usual, tmp_path):
    names = ("organs", "hearts", "brains", "lungs")
    tuned = tuple(Finetune(dataset=name, split="even", steps=10) for name in names)
    rows = [{**row, "dataset": name} for name in names for row in usual]
    (table,) = across(context(*rows, finetune=tuned))
    assert [line.words[:2] for line in table.lines][::3] == [("B", "1.00"), ("D", "4.00")]
    first, last = (line.words[2].split(" to ") for line in (table.lines[0], table.lines[-1]))
    assert float(first[1]) < float(last[0])
    assert "data sets: Friedman p 0.0" in table.title and "need" not in table.title
    (two,) = across(context(*(r for r in rows if r["dataset"] in names[:2]), finetune=tuned[:2]))
    assert "a conclusion needs at least" in two.title
    assert across(context(*usual)) == []
    paths = report.write(
        protocol(rows=ROWS, finetune=tuned), records(*rows), tmp_path, figures=False
    )
    assert "4 rows over 4 data sets" in paths.page.read_text()


@pytest.mark.parametrize(
    ("gain", "words"),
    [(0.0, ""), (0.004, "; a small gain is shown"), (-0.004, "; a small loss is shown")],
)
def test_an_equivalent_row_that_differs_says_so(protocol, records, tmp_path, gain, words):
    rows = [*scores("a", 0.0, (0,)), *scores("c", gain)]
    few = protocol(rows={name: ROWS[name] for name in "ac"})
    page = report.write(few, records(*rows), tmp_path, figures=False).markdown.read_text()
    verdict = rf"equivalent \(p of equivalence [^;)]+{re.escape(words)}\) "
    assert re.search(verdict, html.unescape(page))


def test_every_form_says_it_and_the_plain_one_says_nothing(protocol, records, usual, tmp_path):
    paths = report.write(protocol(rows=ROWS), records(*usual), tmp_path, figures=False)
    page = paths.page.read_text()
    sentence = "3 comparisons with scratch: 1 better, 1 worse, 1 equivalent."
    for text in (
        page,
        paths.markdown.read_text(),
        paths.tex.read_text().replace("\n", " "),
        paths.text,
    ):
        assert sentence in html.unescape(text)
    assert "95 % interval" in page and "records/test_table.parquet: row b, section organs" in page
    lines = list(csv.DictReader((tmp_path / "verdicts.csv").read_text().splitlines()))
    assert [(line["row"], line["verdict"]) for line in lines] == [
        ("b", "better"),
        ("c", "equivalent"),
        ("d", "worse"),
    ]
    assert float(lines[0]["low"]) < float(lines[0]["difference"]) < float(lines[0]["high"])
    alone, after_holm = (float(lines[1][name]) for name in ("p_equivalent", "p_equivalent_holm"))
    assert 0 < alone < after_holm < 0.05 < float(lines[0]["p_equivalent"])
    again = report.write(protocol(rows=ROWS), records(*usual), tmp_path / "again", figures=False)
    assert again.page.read_bytes() == paths.page.read_bytes()
    plain = report.plain_text(protocol(rows=ROWS), records(*usual), Extras())
    assert "differ from" not in plain and "95 % interval" not in plain


def test_the_index_links_every_report_and_names_what_it_cannot_read(
    protocol, records, usual, tmp_path
):
    report.write(
        protocol(rows=ROWS, title="<Table>"), records(*usual), tmp_path / "one", figures=False
    )
    report.write(protocol(rows=ROWS), records(), tmp_path / "two", figures=False)
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "summary.json").write_text("{")
    page = write_index(tmp_path).read_text()
    assert (
        "&lt;Table&gt;" in page
        and 'href="one/index.html"' in page
        and 'href="two/index.html"' in page
    )
    assert "cannot be read: three." in page
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert indexed(tmp_path, new=False) and indexed(tmp_path / "three", new=True)
    assert not indexed(tmp_path / "three", new=False)
    (tmp_path / "index.html").write_text("<title>somebody's own</title>")
    assert not indexed(tmp_path, new=True)
    assert "not finished" not in page and summary["unfinished"] is False
    assert (
        summary["verdicts"] == {"better": 1, "worse": 1, "equivalent": 1} and summary["done"] == 4
    )


def test_counts_of_one_kind_share_a_footnote(protocol, records, tmp_path):
    rows = [
        {"row": r, "case": c, "target": t, "value": 0.0, "status": "empty_prediction"}
        for r, c, t in [("a", "1", "liver"), ("b", "1", "liver"), ("b", "2", "liver")]
    ]
    rows += [{"row": "a", "case": "2", "value": 0.5}]
    paths = report.write(
        protocol(layout=Layout(views=(View(),))), records(*rows), tmp_path, figures=False
    )
    why = "values are penalty values, because the reference or the prediction is empty"
    footnote = (
        f"{why}; of the values of each cell: 1 of 2 (A, 100 %, liver), 2 of 2 (B, 100 %, liver)"
    )
    assert footnote in paths.text
    assert html.unescape(paths.page.read_text()).count("values are penalty values") == 1


def test_a_row_beside_any_other(context, usual):
    study = context(*usual)
    better, worse = (
        compare(study, Key(a, 0, 100, MEAN, "dice"), b) for a, b in (("b", "d"), ("d", "b"))
    )
    assert better is not None and worse is not None
    assert (
        better.difference == pytest.approx(-worse.difference) and better.judged.verdict == "better"
    )
    assert compare(study, Key("b", 0, 100, MEAN, "iou"), "a") is None
    assert stats.VERDICTS[0] == "better"


LABELS = {"labels": "own"}
CONTROLS = ROWS | {
    "top": Row("supervised", "net", ceiling=True, title="Top", params=LABELS),
    "quarter": Row("supervised", "net", ceiling=True, dose=0.25, title="Quarter", params=LABELS),
    "half": Row("supervised", "net", ceiling=True, dose=0.5, title="Half", params=LABELS),
}


def controlled(top, half=0.0, quarter=0.0, noise=0.002, **given):
    """Records of scratch, a row equal to it but for noise, and positive controls above it."""
    gains = {"a": 0.0, "b": 0.004, "top": top, "half": half, "quarter": quarter}
    return [
        record
        for row, gain in gains.items()
        for record in scores(row, gain, (0,) if row == "a" else (0, 1, 2), noise=noise, **given)
    ]


def written(protocol, records, scored, to, **changes):
    """The four forms of a report, as text."""
    paths = report.write(
        protocol(**{"rows": CONTROLS, **changes}), records(*scored), to, figures=False
    )
    page, tex = html.unescape(paths.page.read_text()), paths.tex.read_text().replace("\n", " ")
    return [page, paths.markdown.read_text(), tex, paths.text]


def test_a_page_opens_with_the_least_dose_that_is_told_from_scratch(
    protocol, records, context, tmp_path
):
    rows = controlled(0.06, 0.03)
    (group,) = verdicts(context(*rows, rows=CONTROLS))
    assert [row.key.row for row in group.rows] == ["b"] and not group.blind
    controls = {row.key.row: row for row in group.controls}
    assert {name: row.judged.verdict for name, row in controls.items()} == {
        "top": "better",
        "half": "better",
        "quarter": "equivalent",
    }
    (line,) = sensitivity(context(*rows, rows=CONTROLS), [group]).lines
    half, top = ([line[i] for i in cells] for cells in ((6, 7, 8), (2, 3, 5)))
    assert half == ["0.5", *printed_difference(controls["half"])]
    assert top == [*printed_difference(controls["top"]), "better"]
    for text in written(protocol, records, rows, tmp_path):
        at = [
            text.index(phrase)
            for phrase in (
                "Does this study detect a known gain?",
                "the gain of dose 0.5 is detected",
                "Which rows",
            )
        ]
        assert at == sorted(at) and "blind" not in text.partition("</style>")[2]


def printed_difference(row):
    """Points and interval of a comparison, by hand."""
    c = row.judged.comparison
    three = [
        f"{100 * v:+.2f}".replace("-", "\N{MINUS SIGN}") for v in (c.difference, c.low, c.high)
    ]
    return [three[0], f"{three[1]} to {three[2]}"]


def test_a_study_whose_ceiling_is_not_better_is_blind_and_every_form_says_so(
    protocol, records, tmp_path
):
    sentence = (
        "the study is blind here: not even pretraining with labels is shown to be better than scratch, so "
        "'not separable' carries"
    )
    for text in written(protocol, records, controlled(0.01, noise=0.05), tmp_path):
        plain = text.replace("''", "'")
        assert sentence in plain.partition("Which rows")[0] and plain.count(sentence) == 1
        assert "not even the ceiling is shown to be better than scratch" in plain
    assert (
        '<p class="below" role="alert">“organs”, 100 % of the labels: the study is blind'
        in (tmp_path / "index.html").read_text()
    )
    (line,) = (
        record
        for record in csv.DictReader((tmp_path / "verdicts.csv").read_text().splitlines())
        if record["row"] == "b"
    )
    assert line["verdict"] == "not separable" and line["why"].startswith("blind")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "blind" in summary["sentence"] and summary["control"] == {"blind": ""}


@pytest.mark.parametrize(
    ("blind", "other", "where"),
    [
        ((), "better", None),
        (((0, 5, "a"), (0, 100, "a"), (1, 5, "a"), (1, 5, "b")), "none", ""),
        (((0, 5, "a"), (0, 100, "a")), "better", "in 1 of 2 sections"),
        (((0, 5, "a"), (0, 100, "a")), "none", "in 1 of 2 sections"),
        (((0, 5, "a"), (1, 5, "a")), "better", "in 2 of 4 places"),
    ],
)
def test_it_says_in_how_many_sections_a_study_is_blind(context, blind, other, where):
    study = context(*controlled(0.06, 0.03), rows=CONTROLS)
    (group,) = verdicts(study)
    rows, controls = (
        {base: tuple(replace(row, baseline=base) for row in family) for base in "ab"}
        for family in (group.rows, group.controls)
    )
    places = [(0, 5, "a"), (0, 100, "a"), (1, 5, "ab")]
    groups = [
        replace(
            group,
            section=section,
            fraction=share,
            rows=sum((rows[base] for base in bases), ()),
            controls=sum((controls[base] for base in bases), ()) if other == "better" else (),
            blind=frozenset(b for b in bases if (section, share, b) in blind),
        )
        for section, share, bases in places
    ]
    control = positive_control(groups)
    assert control.get("blind") == where and {*control} <= {"blind", other}
    if where and "sections" in where:  # one section alone: its shares of the labels are counted
        first = positive_control([groups[0], replace(groups[1], blind=frozenset())])
        assert first == dict.fromkeys(["blind", other], "in 1 of 2 shares of the labels")


@pytest.mark.parametrize(
    ("lost", "gains", "expected"),
    [
        ((), (0.06, 0.0), "better than scratch, but no smaller dose is."),
        ((), (0.06, 0.0, -0.05), "Dose 0.25 is worse than scratch. Here a mixture"),
        ((), (0.06, 0.03, -0.05), "gain of dose 0.5 is detected. Dose 0.25 is worse than scratch."),
        ((), (0.06, 0.04, 0.03), "the gain of dose 0.25 is detected. No smaller dose above 0 was"),
        (("half", "quarter"), (0.06, 0.0), "No dose was run"),
        (("top",), (0.06, 0.03), "no ceiling is compared with scratch"),
        ((), (0.0, 0.05), "(although dose 0.5 is shown to be better)"),
    ],
)
def test_a_ladder_says_what_it_cannot_tell(context, lost, gains, expected):
    study = context(
        *(record for record in controlled(*gains) if record["row"] not in lost), rows=CONTROLS
    )
    seen = sensitivity(study, verdicts(study))
    red, plain = (" ".join(texts) for texts in ((*seen.blind, *seen.warnings), seen.sentences))
    said = f"{red} {plain}"
    assert expected in (plain if "is detected" in expected or "No dose" in expected else red)
    smaller = {row.key.row: row for group in verdicts(study) for row in group.controls}
    if "quarter" in smaller and smaller["quarter"].judged.verdict != "better":
        assert "No smaller dose" not in said


@pytest.mark.parametrize(("noise", "warned"), [(0.3, True), (0.002, False)])
def test_a_page_without_a_positive_control_warns_of_what_is_not_separable(context, noise, warned):
    rows = {name: CONTROLS[name] for name in ("a", "b")}
    study = context(*scores("a", 0.0, (0,)), *scores("b", 0.05, noise=noise), rows=rows)
    (group,) = verdicts(study)
    assert (group.rows[0].judged.verdict == "not separable") is warned
    (section,) = sensitivity(study, [group]).sections or [None]
    assert (section is not None) is warned
    if section is not None:
        assert [(p.kind, "No positive control was run" in p.text) for p in section.parts] == [
            ("warning", True)
        ]


def test_what_was_planned_to_be_detected_and_what_is_detected_stand_in_one_sentence(context, usual):
    """Both after Holm's correction over all rows."""
    study = context(*usual)
    planned = "1.1 points at 100 % of the labels (the noise is that of a pilot)"
    study = replace(study, protocol=replace(study.protocol, detects=planned))
    registration = Registered("2026-11-30T00:00:00+00:00", "c0ffee", "pilot", (), "", 0, 9)
    noted = replace(study, extras=replace(study.extras, registered=(registration,)))
    (group,) = verdicts(study)
    noise = noise_of([row.judged.comparison for row in group.rows])
    least = 100 * detectable(noise, PATIENTS, len(SEEDS), comparisons=3)
    assert least > 100 * detectable(noise, PATIENTS, len(SEEDS))
    for of, words, doubt in (
        (noted, "planned", ""),
        (
            study,
            "in the protocol",
            " (not registered, so this may have been calculated after the scores)",
        ),
    ):
        assert [*sensitivity(of, [group]).detected] == [
            "Smallest difference that the study detects with 80 % power, after Holm's correction: "
            f"{words} {planned}{doubt}; measured {least:.1f} points at 100 % of the labels."
        ]


def test_a_section_whose_planned_doses_have_not_run_says_so(context):
    second = Finetune(dataset="organs", name="second", split="even", steps=10)
    first = replace(second, name="first")
    rows = [{**record, "section": "first"} for record in controlled(0.06, 0.03)]
    rows += [
        {**record, "section": "second"}
        for record in controlled(0.06, 0.03)
        if record["row"] not in ("half", "quarter")
    ]
    for sections, waits in (((first, second), True), ((first,), False)):
        names = {section.name for section in sections}
        scored = [record for record in rows if record["section"] in names]
        study = context(*scored, rows=CONTROLS, finetune=sections)
        sentences = " ".join(sensitivity(study, verdicts(study)).sentences)
        wait = f"“{study.labels[-1]}”: no dose above 0 has run in this section."
        assert (wait in sentences) is waits and sentences.count("no dose above 0 has run") == waits


def test_what_is_true_at_several_shares_of_the_labels_is_said_once(context):
    shares = [{**r, "fraction": f} for f in (5, 20, 100) for r in controlled(0.0, 0.0)]
    target = Finetune(dataset="organs", split="even", steps=10, fractions=(5, 20, 100))
    study = context(*shares, rows=CONTROLS, finetune=(target,))
    (text,) = sensitivity(study, verdicts(study)).blind
    assert text.startswith("“organs”, 5, 20 and 100 % of the labels: the study is blind here")


def test_a_blind_place_says_how_many_rows_differ_all_the_same(context):
    """And that "not separable" says nothing there, only if a row has this verdict."""
    records = [r for r in controlled(0.0, noise=0.002) if r["row"] != "b"]
    several = context(*records, *scores("b", 0.05), rows=CONTROLS)
    one = context(*records, *scores("b", 0.05, (0,), (0,)), rows=CONTROLS)
    for study, alone in ((several, ""), (one, " on these weights alone")):
        (text,) = sensitivity(study, verdicts(study)).blind
        assert text.endswith(f"better than scratch (1 row differs from scratch{alone}).")


@pytest.mark.parametrize(
    ("p", "printed"),
    [(0.0004, "< 0.001"), (0.04996, "0.0499"), (0.05, "0.050"), (0.0501, "0.050"), (0.3, "0.30")],
)
def test_a_p_below_the_limit_is_never_printed_as_the_limit(p, printed):
    assert p_value(p) == printed


def test_each_network_is_blind_by_its_own_ceiling(context):
    other = {f"{name}2": replace(CONTROLS[name], network="n2") for name in ("a", "b", "top")}
    wide = [
        *scores("a2", 0.0, (0,), noise=0.05),
        *scores("b2", 0.0, noise=0.05),
        *scores("top2", 0.0, noise=0.05),
    ]
    nets = {"net": Net("swin_unetr"), "n2": Net("unetr")}
    study = context(*controlled(0.06, 0.03), *wide, rows=CONTROLS | other, networks=nets)
    (group,) = verdicts(study)
    assert group.blind == {"a2"}
    why = {row.key.row: row.judged.why for row in group.rows}
    assert why["b2"].startswith("blind") and why["b"] == ""
    (figure,) = forest_figures(study, [group])  # a shaded band is that of one network
    axes = figure.draw().axes
    against = [ax.get_title("left").partition("against ")[2] for ax in axes]
    names = [study.named(row) for row in ("a", "a2")]
    assert against == [*names, *(f"{name}: controls" for name in names)]
    # the heading says the network, so the rows need not
    assert [[text.get_text() for text in ax.get_yticklabels()] for ax in axes[:2]] == [["B"], ["B"]]


def test_positive_controls_win_no_mark_and_no_rank_and_stand_last(context, usual):
    rows = [*usual, *scores("top", 0.2), *scores("half", 0.1)]
    shown = {"top": CONTROLS["top"], **ROWS, "half": CONTROLS["half"]}
    study = context(*rows, rows=shown)
    (table,), _ = tables(study)
    assert [(heading, [line.row for line in lines]) for heading, lines in table.groups] == [
        ("", ["a", "b", "c", "d"]),
        ("Positive controls", ["top", "half"]),
    ]
    marks = {line.row: line.entries[0].mark for line in table.lines}
    assert marks["b"] == "best" and marks["top"] == marks["half"] == ""
    (ranked,) = rankings(study)
    assert {line.words[0] for line in ranked.table.lines} == {"A", "B", "C", "D"}
    ((hardest,),) = (section.parts for section in worst(study))
    assert not any("Top" in line.words[2] for line in hardest.lines)
    assert sentence(study, verdicts(study)).text.startswith("3 comparisons with scratch:")
    (figure,) = forest_figures(study, verdicts(study))
    assert figure.name == "forest" and "Top" not in [
        text.get_text() for text in figure.draw().axes[0].get_yticklabels()
    ]


def test_a_dose_curve_has_a_point_and_an_interval_for_each_dose(context):
    none = {"none": replace(CONTROLS["half"], dose=0.0, title="None")}  # a control, and no dose
    records = controlled(0.06, 0.03) + scores("none", 0.05, (0, 1, 2))
    study = context(*records, rows=CONTROLS | none)
    (group,) = verdicts(study)
    (figure,) = dose_figures(study, [group])
    (ax,) = figure.draw().axes
    intervals = [ends for lines in ax.collections for ends in lines.get_segments()]
    spans = {ends[0][0]: list(ends[:, 1]) for ends in intervals}
    judged = {row.key.row: row.judged for row in group.controls}
    assert judged.pop("none").verdict == "better" and sensitivity(study, [group]).lines[0][5] != "0"
    expected = {CONTROLS[row].dose: control.comparison for row, control in judged.items()}
    assert [*spans] == [0.25, 0.5, 1.0]
    for dose, c in expected.items():
        assert spans[dose] == pytest.approx([100 * c.low, 100 * c.high], abs=1e-5)
    (slower,) = dose_figures(
        replace(study, protocol=replace(study.protocol, finetune=(SLOWER,))), [group]
    )
    said = "small doses need not come near scratch"
    assert said in slower.captions[0] and said not in figure.captions[0]


ALIKE = Finetune(dataset="organs", name="alike", split="even", steps=10)
SLOWER = replace(ALIKE, loaded=Group(rate=1e-4))
EACH = replace(
    ALIKE, name="each", norm="kept", val="full", tune=Tune(over={"loaded": ({}, {"rate": 1e-4})})
)


def test_a_page_with_both_tuning_rules_says_which_verdicts_survive(protocol, records, tmp_path):
    rows = [
        {**record, "section": section}
        for section, gains in (("alike", (0.05, 0.0, -0.05)), ("each", (0.05, 0.05, 0.0)))
        for row, gain in zip("abcd", (0.0, *gains), strict=True)
        for record in scores(row, gain, (0,) if row == "a" else (0, 1, 2))
    ]
    study = context_of(protocol(rows=ROWS, finetune=(ALIKE, EACH)), records(*rows), Extras())
    ((table,),) = (section.parts for section in survivals(study, verdicts(study)))
    survived = {line.words[0]: line.words[-1] for line in table.lines}
    assert survived == {"B": "yes (the same runs)", "C": "no", "D": "no"}
    text = sentence(study, verdicts(study)).text
    assert text.endswith(" 1 of these repeats the runs of another section.")
    assert table.caption.startswith("Verdicts that differ between the two sections: 2 of 3.")
    assert table.caption.endswith("also differ in these settings: norm.")
    for text in written(protocol, records, rows, tmp_path, rows=ROWS, finetune=(ALIKE, EACH)):
        assert (
            "Do the verdicts survive another tuning rule?" in text and "sections: 2 of 3." in text
        )
    best = {"select": "best_val"}  # on which patients then matters in both
    pairs = [
        (ALIKE, replace(EACH, **k)) for k in ({"split": "rule"}, {"steps": 11}, {"tune": None})
    ]
    for pair in (*pairs, (replace(ALIKE, **best), replace(EACH, **best))):
        apart = protocol(rows=ROWS, finetune=pair)
        other_study = context_of(apart, records(*rows), Extras())
        assert survivals(other_study, verdicts(other_study)) == []


@pytest.mark.parametrize(
    ("alike", "each", "expected"),
    [
        ("better", "better", "yes"),
        ("better", "worse", "no"),
        ("not separable", "better", "no"),
        ("not separable", "not separable", "nothing claimed"),
        ("better", "these weights only", "not judged"),
    ],
)
def test_a_verdict_survives_where_both_rules_claim_it(alike, each, expected):
    assert survives(alike, each) == expected


@pytest.mark.parametrize(
    ("itself", "printed"), [(0.0102, "1.02"), (0.01003, "1.01"), (0.0117, "1.2"), (0.0671, "6.7")]
)
def test_a_measured_limit_that_is_too_large_is_not_printed_as_the_assumed_one(itself, printed):
    before, figure, _ = _region(stats.Region(0.01, 30, itself))
    assert before.endswith("the halves differ by at most")
    assert figure == f"{printed} points"


def lucky(seeds, spread, **vary):
    """Ten cases of rows of a given name and network, whose seeds vary by a multiple of ``spread``."""
    luck = np.random.default_rng(1).normal(0, spread, seeds)
    return 0.59 + luck, [
        {"row": row, "network": row[1:] or "net", "case": f"c{i}", "seed": seed}
        | {"pretrain_seed": seed, "value": 0.5 + 0.02 * i + luck[seed] * times}
        for row, times in vary.items()
        for seed in range(seeds)
        for i in range(10)
    ]


@pytest.mark.parametrize(
    ("seeds", "spread", "rope", "sentence"),
    [
        (
            7,
            0.002,
            0.01,
            "assumed: scratch has 7 seeds here, and a measured limit needs at least 8.",
        ),
        (8, 0.002, None, "the halves differ by at most this limit."),
        (8, 0.05, 0.01, "Scratch alone varies more"),
    ],
)
def test_the_region_of_equivalence_is_scratch_against_itself(
    context, seeds, spread, rope, sentence
):
    means, rows = lucky(seeds, spread, a=1, b=0)
    study = context(*rows)
    (group,) = verdicts(study)
    expected = stats.region(means).rope if rope is None else rope
    assert group.rows[0].judged.comparison.rope == pytest.approx(expected)
    assert sentence in verdict_tables(study, [group])[0].caption


def test_two_scratches_that_vary_unlike_share_the_sentence_on_the_region_of_equivalence(context):
    methods = {"an": "scratch", "am": "scratch", "bn": "voco", "bm": "voco"}
    rows = {row: Row(method, row[1:]) for row, method in methods.items()}
    networks = {"n": Net("swin_unetr"), "m": Net("unet3d")}
    _, scores = lucky(8, 0.05, an=1, am=2, bn=0, bm=0)
    study = context(*scores, rows=rows, networks=networks)
    caption = verdict_tables(study, verdicts(study))[0].caption
    assert caption.count("Equivalent: within") == 1
    assert "differ by at most 4.6 points (scratch, n) or 9.3 points (scratch, m). But" in caption
