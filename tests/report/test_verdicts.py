"""What is said beside scratch: which rows are compared, in which family, and what pages and files print."""

import csv
import html
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench import report, stats
from bench.protocol import Finetune, Layout, Row, View
from bench.report import Extras
from bench.report.across import across
from bench.report.answer import _ticks, answer, forest_figures, reason, settles
from bench.report.cells import MEAN, Key
from bench.report.index import indexed
from bench.report.index import write as write_index
from bench.report.ranking import rankings
from bench.report.verdict_table import lines
from bench.report.verdicts import beside, differences, verdicts
from bench.report.worst import worst
from bench.report.write import scene_of

PATIENTS, SEEDS = 12, (0, 1, 2)
ROWS = {
    "a": Row("scratch", "net", title="A"), "b": Row("voco", "net", title="B"),
    "c": Row("mae3d", "net", title="C"), "d": Row("simmim3d", "net", title="D"),
}  # fmt: skip


def scores(row: str, gain: float, pretrainings=(0, 1, 2), seeds=SEEDS, noise=0.002, **given) -> list[dict]:
    """Rows of patients that differ by 0.1 at random, ``gain`` above them, ``noise`` in every number."""
    rng = np.random.default_rng(sum(map(ord, row)))
    hard = np.random.default_rng(0).normal(0.6, 0.1, PATIENTS)
    return [
        {"row": row, "pretrain_seed": p, "seed": s, "case": f"c{i:02d}",
         "value": float(hard[i] + gain + rng.normal(0, noise)), **given}
        for p in pretrainings for s in seeds for i in range(PATIENTS)
    ]  # fmt: skip


@pytest.fixture
def scene(protocol, records):
    """Return a function from rows of records to what a report is drawn from."""

    def made(*rows, **changes):
        return scene_of(protocol(**{"rows": ROWS, **changes}), records(*rows), Extras())

    return made


@pytest.fixture
def usual():
    """Records of scratch, of a better, an equivalent and a worse row."""
    return [
        *scores("a", 0.0, (0,)), *scores("b", 0.05), *scores("c", 0.0), *scores("d", -0.05),
    ]  # fmt: skip


def test_rows_stand_beside_their_own_scratch_the_largest_difference_first(scene, usual):
    (place,) = verdicts(scene(*usual))
    assert [(one.key.row, one.judged.verdict) for one in place.rows] == [
        ("b", "better"), ("c", "equivalent"), ("d", "worse"),
    ]  # fmt: skip
    one = place.rows[0]
    assert one.difference == pytest.approx(0.05, abs=0.002)
    assert (one.judged.comparison.pretrainings, one.judged.comparison.seeds) == (3, 3)
    assert one.check[0] < one.difference < one.check[1] and np.isnan(one.flips)
    assert place.counted() == {"better": 1, "worse": 1, "equivalent": 1}


def test_a_difference_is_of_the_targets_that_both_have_and_distances_turn_their_sign(scene):
    base = {"metric": "hd95", "unit": "mm"}
    rows = [
        {"row": r, "target": t, "value": v, "case": c, **base}
        for r, t, c, v in [
            ("a", "liver", "1", 5.0), ("a", "spleen", "1", 9.0), ("a", "liver", "2", 2.0),
            ("b", "liver", "1", 4.0), ("b", "liver", "2", 5.0), ("b", "spleen", "2", 1.0),
        ]
    ]  # fmt: skip
    found = differences(
        scene(*rows, metrics=("hd95",)), Key("b", 0, 100, MEAN, "hd95"), Key("a", 0, 100, MEAN, "hd95")
    )
    assert found is not None
    assert found[0].tolist() == [[1.0], [-3.0]]  # spleen: defined for one of the two alone


def test_one_pretraining_and_weights_from_a_file_are_weights_only(scene):
    rows = {**ROWS, "c": Row("mae3d", "net", title="C", init="weights.pt")}
    made = scene(*scores("a", 0.0, (0,)), *scores("b", 0.3, (0,)), *scores("c", 0.3, (0, 1)), rows=rows)
    (place,) = verdicts(made)
    assert {one.key.row: one.judged.verdict for one in place.rows} == dict.fromkeys(
        "bc", "these weights only"
    )
    assert answer(made, [place]).sentence.startswith("None of 2 comparisons with scratch says anything")
    assert place.rows[0].flips == pytest.approx(2 / 2**PATIENTS)
    assert "of these weights: better" in answer(made, [place]).forests[0].dots[0].more


@pytest.mark.parametrize(
    ("runs", "before"), [((0,), "One pretraining: "), ((0, 1, 2), "Of B one pretraining: ")]
)
def test_under_a_plot_it_is_said_of_which_rows_a_verdict_is_of_weights_only(scene, runs, before):
    made = scene(*scores("a", 0.0, (0,)), *scores("b", 0.3, (0,)), *scores("c", 0.3, runs))
    (said,) = answer(made, verdicts(made)).forests[0].why
    assert said.startswith(before) and said.endswith("is not known.")


def test_controls_are_a_family_of_their_own_and_what_is_tuned_otherwise_is_left_out(scene, usual):
    rows = {**ROWS, "d": Row("simmim3d", "net", title="D", finetune={"steps": 99})}
    control = scores("b (random)", 0.0)
    (place,) = verdicts(scene(*usual, *control, rows=rows, baseline="unequal"))
    assert [one.key.row for one in place.rows] == ["b", "c"]
    assert [one.key.row for one in place.controls] == ["b (random)"]
    assert place.aside == ("D: not fine-tuned alike",)
    alone = place.controls[0].judged
    assert alone.p == alone.comparison.p  # the only one of its family


def test_a_control_that_is_scratch_run_by_run_is_not_compared_with_it(scene, usual):
    same = [{**row, "row": "b (random)"} for row in usual if row["row"] == "a"]
    (place,) = verdicts(scene(*usual, *same, *scores("b (shuffled)", 0.0)))
    assert [one.key.row for one in place.controls] == ["b (shuffled)"]
    assert place.aside == ("B (random): from fresh weights, run by run scratch itself",)
    ((_, caption, _),) = lines(answer(scene(*usual, *same), [place]))
    assert caption.endswith(f"Left out: {place.aside[0]}.")


def test_a_family_is_of_one_place(scene, usual):
    more = [{**row, "fraction": 10} for row in usual if row["row"] in "ab"]
    tuned = Finetune(dataset="organs", split="even", steps=10, fractions=(10, 100))
    few, many = verdicts(scene(*usual, *more, finetune=(tuned,)))
    assert [place.fraction for place in (few, many)] == [10, 100]
    assert few.rows[0].judged.p == few.rows[0].judged.comparison.p
    assert many.rows[0].judged.p == pytest.approx(3 * many.rows[0].judged.comparison.p)  # the smallest of 3


def test_what_may_tell_is_said_only_where_neither_the_family_nor_the_row_alone_tells():
    gained = np.random.default_rng(0).normal(0.02, 0.06, (8, 3))
    alone = stats.compared(gained, [0, 1, 2], 0.01, seeds=[0, 1, 2])
    said = {}
    for own in ("not separable", "better", "equivalent"):
        judged = stats.Judged(replace(alone, verdict=own), 1.0, "not separable")
        said[own] = settles(SimpleNamespace(judged=judged)).partition(":")[0]
    assert said == {"not separable": "what may tell, asked alone", "better": "", "equivalent": ""}


def test_published_differences_stand_beside(protocol, records, printed, usual):
    lines = printed(
        {"method": "A", "target": "mean", "value": "80.0"},
        {"method": "VoCo", "target": "mean", "value": "83.5"},
    )
    rows = {"a": Row("scratch", "net", title="A", published="A"), "b": Row("voco", "net", published="VoCo")}
    usual = [row for row in usual if row["row"] in rows]
    made = scene_of(protocol(rows=rows), records(*usual), Extras(published=lines))
    (place,) = verdicts(made)
    assert place.rows[0].published == pytest.approx(0.035)
    (forest,) = answer(made, [place]).forests
    assert forest.dots[0].printed == "+3.50"
    assert forest.dots[0].low < forest.dots[0].mid < forest.dots[0].high


@pytest.mark.parametrize("unit", ["1", "mm"])
def test_an_axis_has_round_numbers_on_both_sides_and_none_at_its_edge(unit):
    for limit in np.geomspace(0.012, 9000, 500):
        at, said = zip(*_ticks(limit, unit), strict=True)
        assert len(at) in (3, 5) and said[len(at) // 2] == "0" and at[len(at) // 2] == 50
        assert min(at) >= 5 and max(at) <= 95
        assert {word.strip("+\u22120.") for word in said} <= {"", "1", "2", "4", "5"}


def test_the_longer_line_of_two_rows_fits_the_axis(scene):
    wide = scores("b", 0.02, noise=0.05) + scores("c", 0.02) + scores("a", 0.0)
    (forest,) = answer(made := scene(*wide), verdicts(made)).forests
    assert all(0 < dot.low < dot.high < 100 for dot in forest.dots) and len(forest.dots) == 2


def test_ranks_and_pairs_are_of_rows_that_are_alike(scene, usual):
    (ranking,) = rankings(scene(*usual))
    assert (ranking.rungs[0].row, ranking.rungs[0].rank) == ("B", "1")
    assert ranking.rungs[-1].row == "D" and ranking.rungs[0].best == "100 %"
    assert [sign for sign, _ in ranking.rungs[0].pairs] == ["", "▲", "▲", "▲"]
    assert [sign for sign, _ in ranking.rungs[-1].pairs] == ["▼", "▼", "▼", ""]
    assert ranking.rungs[-1].verdict == "worse"
    other = {**ROWS, "c": Row("mae3d", "net", title="C", finetune={"steps": 99})}
    assert [len(one.rungs) for one in rankings(scene(*usual, rows=other, baseline="unequal"))] == [3]


def test_ranks_of_one_run_have_neither_an_interval_nor_a_share_of_draws_and_it_is_said(
    scene, protocol, records, tmp_path
):
    """The row that is the best in all draws of the patients is so for this seed alone."""
    one = [
        row
        for r, gain in zip("abcd", (0, 0.05, 0, -0.05), strict=True)
        for row in scores(r, gain, (0,), (0,))
    ]
    (ranking,) = rankings(scene(*one))
    assert [(rung.rank, rung.interval, rung.best) for rung in ranking.rungs[::3]] == [
        ("1", "", ""),
        ("4", "", ""),
    ]
    assert ranking.settled.startswith("no rank interval and no share of draws: every row has one run")
    assert (
        ranking.settled
        in report.write(protocol(rows=ROWS), records(*one), tmp_path, figures=False).page.read_text()
    )
    more = [row for r in "abc" for row in scores(r, 0, (0,), (0, 1))]
    (ranking,) = rankings(scene(*more, *scores("d", -0.05, (0,), (0,))))  # then all are ranked in that run
    assert "every row has one run" in ranking.settled and {rung.interval for rung in ranking.rungs} == {""}
    (ranking,) = rankings(scene(*more))
    assert all(rung.interval for rung in ranking.rungs) and "rank intervals apart" in ranking.settled


def test_ranks_and_pairs_are_over_what_all_rows_have(scene):
    """b lacks the six hard patients of twelve; over the others it is the worst of all."""
    gains = {"a": 0.0, "b": -0.01, "c": 0.02, "d": 0.01}
    rows = [row for r, gain in gains.items() for row in scores(r, gain, (0,), (0, 1), noise=0)]
    hard = sorted(
        {row["case"] for row in rows}, key=lambda c: next(r["value"] for r in rows if r["case"] == c)
    )
    part = [row for row in rows if row["row"] != "b" or row["case"] in hard[6:]]
    (ranking,) = rankings(scene(*part))
    assert [rung.row for rung in ranking.rungs] == ["C", "D", "A", "B"]
    easy = [row["value"] for row in rows if row["row"] == "c" and row["case"] in hard[6:]]
    assert ranking.rungs[0].mean == f"{100 * np.mean(easy):.2f}"
    assert [rung.beside.split(" ")[0] for rung in ranking.rungs] == [
        "",
        "\u22121.00",
        "\u22122.00",
        "\u22123.00",
    ]
    names = ("organs", "hearts")
    tuned = tuple(Finetune(dataset=name, split="even", steps=10) for name in names)
    (found,) = across(scene(*({**row, "dataset": name} for name in names for row in part), finetune=tuned))
    assert [bar.row for bar in found.bars] == ["C", "D", "A", "B"]


@pytest.mark.parametrize(
    ("patients", "gain", "why"),
    [
        (5, 0.19, "too few patients: 5 allow no p below 0.062"),
        (8, 0.19, "too few patients: 8 allow no p below 0.0078, so in 8 comparisons none below 0.05"),
        (12, 0.19, ""),
    ],
)
def test_a_verdict_that_its_interval_contradicts_says_why_on_its_line(
    scene, protocol, records, tmp_path, patients, gain, why
):
    """+19 [+18 to +20] beside "not separable" is no contradiction: so few patients allow no small p."""
    names = "bcdefghi"
    known = {"a": Row("scratch", "net", title="A")} | {n: Row("voco", "net", title=n.upper()) for n in names}
    rows = [*scores("a", 0.0, (0,))] + [row for n in names for row in scores(n, gain)]
    rows = [row for row in rows if row["case"] < f"c{patients:02d}"]
    made = scene(*rows, rows=known)
    (forest,) = answer(made, verdicts(made)).forests
    assert {dot.said for dot in forest.dots} == {f"not separable ({why})" if why else "better"}
    paths = report.write(protocol(rows=known), records(*rows), tmp_path, figures=False)
    if why:
        for text in (paths.markdown.read_text(), paths.tex.read_text(), paths.text):
            lines = [line for line in text.splitlines() if "+19." in line and "to" in line]
            assert len(lines) == 8 and all(why in line for line in lines)
        assert html.unescape(paths.page.read_text()).count(f'<span class="why">{why}</span>') == 8
        assert all(why in rung.verdict for rung in rankings(made)[0].rungs if "+19" in rung.beside)
        (figure,) = forest_figures(made, verdicts(made))
        said = [t.get_text() for ax in figure.draw().axes for t in ax.texts]
        assert said.count("not separable (too few patients)") == 8


def test_of_one_run_of_five_patients_it_is_said_too(scene):
    rows = [row for r, gain in (("a", 0.0), ("b", 0.19)) for row in scores(r, gain, (0,), (0,))]
    made = scene(*(row for row in rows if row["case"] < "c05"))
    (dot,) = answer(made, verdicts(made)).forests[0].dots
    assert dot.difference.startswith("+19") and dot.interval.startswith("+1")
    assert dot.why == "of these: not separable (too few patients: 5 allow no p below 0.062)"
    three = scene(
        *(row for r, g in (("a", 0.0), ("b", 0.19)) for row in scores(r, g, (0,)) if row["case"] < "c05")
    )
    (dot,) = answer(three, verdicts(three)).forests[0].dots  # by the model its p is small
    assert dot.why == "of these: not separable (too few patients: 5 allow no p below 0.062)"


def test_a_difference_that_holm_takes_back_says_so_on_its_line():
    noise = np.random.default_rng(1).normal(0, 0.03, (12, 3))
    every = [stats.compared(noise - noise.mean() + gain, rope=None) for gain in np.linspace(0.01, 0.06, 60)]
    one = next(c for c in every if 0.03 < c.p < 0.04)
    assert one.low > 0  # alone it is better
    found = stats.judged([one, replace(one, p=0.9), replace(one, p=0.9)])
    assert found[0].verdict == "not separable" and reason(found[0]) == f"p after Holm is {3 * one.p:.2f}"
    assert reason(stats.judged([one])[0]) == ""


def test_the_worst_cases_are_those_of_the_lowest_mean_over_rows(scene, usual):
    (found,) = worst(scene(*usual))
    hard = np.random.default_rng(0).normal(0.6, 0.1, PATIENTS)
    assert [c.patient for c in found.cases] == [f"patient of c{i:02d}" for i in np.argsort(hard)[:5]]
    assert found.cases[0].best.startswith("B ") and found.cases[0].worst.startswith("D ")
    tuned = Finetune(dataset="organs", split="even", steps=10, fractions=(10, 100))
    few = [{**row, "fraction": 10} for row in usual]
    for more, fraction in (("a", 10), ("abcd", 100)):  # where most rows are; all of them: with most labels
        full = [row for row in usual if row["row"] in more]
        (found,) = worst(scene(*few, *full, finetune=(tuned,)))
        assert f"{fraction} % of the labels" in found.title


def test_a_worst_case_says_over_how_many_rows_its_mean_is(scene, usual):
    hard = f"c{int(np.argmin(np.random.default_rng(0).normal(0.6, 0.1, PATIENTS))):02d}"
    part = [row for row in usual if row["row"] != "b" or row["case"] != hard]
    (found,) = worst(scene(*part))
    assert found.cases[0].patient.endswith(hard) and found.cases[0].mean.endswith(" (3 of 4 rows)")
    assert "rows)" not in found.cases[1].mean


def test_over_data_sets_each_counts_once(scene, protocol, records, usual, tmp_path):
    names = ("organs", "hearts", "brains", "lungs")
    tuned = tuple(Finetune(dataset=name, split="even", steps=10) for name in names)
    rows = [{**row, "dataset": name} for name in names for row in usual]
    (found,) = across(scene(*rows, finetune=tuned))
    assert [(bar.row, bar.rank) for bar in found.bars][::3] == [("B", "1.00"), ("D", "4.00")]
    assert found.bars[0].high < found.bars[-1].low
    assert found.said.startswith("Friedman p 0.0") and "need" not in found.said
    (two,) = across(scene(*(r for r in rows if r["dataset"] in names[:2]), finetune=tuned[:2]))
    assert "before anything can be said" in two.said
    assert across(scene(*usual)) == []
    made = report.write(protocol(rows=ROWS, finetune=tuned), records(*rows), tmp_path, figures=False)
    assert "4 rows over 4 data sets" in made.page.read_text()


def test_every_form_says_it_and_the_plain_one_says_nothing(protocol, records, usual, tmp_path):
    made = report.write(protocol(rows=ROWS), records(*usual), tmp_path, figures=False)
    page = made.page.read_text()
    sentence = "Of 3 comparisons: 1 better than scratch, 1 worse, 1 equivalent to it."
    for text in (page, made.markdown.read_text(), made.tex.read_text().replace("\n", " "), made.text):
        assert sentence in html.unescape(text)
    assert "95 % interval" in page and "records/test_table.parquet: row b, section organs" in page
    lines = list(csv.DictReader((tmp_path / "verdicts.csv").read_text().splitlines()))
    assert [(one["row"], one["verdict"]) for one in lines] == [
        ("b", "better"),
        ("c", "equivalent"),
        ("d", "worse"),
    ]
    assert float(lines[0]["low"]) < float(lines[0]["difference"]) < float(lines[0]["high"])
    alone, after_holm = (float(lines[1][name]) for name in ("p_equivalent", "p_equivalent_holm"))
    assert 0 < alone < after_holm < 0.05 < float(lines[0]["p_equivalent"])
    again = report.write(protocol(rows=ROWS), records(*usual), tmp_path / "again", figures=False)
    assert again.page.read_bytes() == made.page.read_bytes()
    plain = report.write(protocol(rows=ROWS), records(*usual), tmp_path, figures=False, plain=True)
    for text in (plain.page.read_text(), plain.markdown.read_text(), plain.tex.read_text(), plain.text):
        assert "differ from" not in text and "95 % interval" not in text
    assert not (tmp_path / "verdicts.csv").exists()


def test_the_index_links_every_report_and_names_what_it_cannot_read(protocol, records, usual, tmp_path):
    report.write(protocol(rows=ROWS, title="<Table>"), records(*usual), tmp_path / "one", figures=False)
    report.write(protocol(rows=ROWS), records(), tmp_path / "two", figures=False)
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "summary.json").write_text("{")
    page = write_index(tmp_path).read_text()
    assert "&lt;Table&gt;" in page and 'href="one/index.html"' in page and 'href="two/index.html"' in page
    assert "cannot be read: three;" in page
    found = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert indexed(tmp_path, new=False) and indexed(tmp_path / "three", new=True)
    assert not indexed(tmp_path / "three", new=False)
    (tmp_path / "index.html").write_text("<title>somebody's own</title>")
    assert not indexed(tmp_path, new=True)
    assert "not finished" not in page and found["unfinished"] is False
    assert found["verdicts"] == {"better": 1, "worse": 1, "equivalent": 1} and found["done"] == 4


def test_counts_of_one_kind_share_a_footnote(protocol, records, tmp_path):
    rows = [
        {"row": r, "case": c, "target": t, "value": 0.0, "status": "empty_prediction"}
        for r, c, t in [("a", "1", "liver"), ("b", "1", "liver"), ("b", "2", "liver")]
    ]
    rows += [{"row": "a", "case": "2", "value": 0.5}]
    made = report.write(protocol(layout=Layout(views=(View(),))), records(*rows), tmp_path, figures=False)
    said = "values penalised (one mask empty): 1 of 2 (A, 100 %, liver), 2 of 2 (B, 100 %, liver)"
    assert said in made.text
    assert html.unescape(made.page.read_text()).count("values penalised") == 1


def test_a_row_beside_any_other(scene, usual):
    made = scene(*usual)
    one, other = (beside(made, Key(a, 0, 100, MEAN, "dice"), b) for a, b in (("b", "d"), ("d", "b")))
    assert one is not None and other is not None
    assert one.difference == pytest.approx(-other.difference) and one.judged.verdict == "better"
    assert beside(made, Key("b", 0, 100, MEAN, "iou"), "a") is None
    assert stats.VERDICTS[0] == "better"
