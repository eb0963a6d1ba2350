"""``bench judge``: what is read as what, what is refused in a line, and that its numbers are the known ones."""

import csv
import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from one_line import refusal

import bench
from bench import stats
from bench.cli import main
from bench.report.spreadsheet import _field as printed
from bench.stats.ranks import ranks

ROOT = Path(__file__).resolve().parents[2]
METHODS, CASES = ("A", "B", "C"), 12


def scores(runs=1, methods=METHODS, cases=CASES, step=0.02, seed=0):
    """Return made-up Dice, (methods, cases, runs): each method is better than the one before it."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0.6, 0.05, (1, cases, 1))
    better = step * np.arange(len(methods))[:, None, None]
    run = rng.normal(0, 0.002, (len(methods), 1, runs))
    return (hard + better + run + rng.normal(0, 0.01, (len(methods), cases, runs))).round(5)


def frame(values=None, methods=METHODS, **columns):
    """Return scores as a long table: case, method, seed, dice."""
    values = scores() if values is None else values
    rows = [
        {"case": f"c{c:02d}", "method": methods[m], "seed": r, "dice": values[m, c, r], **columns}
        for m, c, r in product(*map(range, values.shape))
    ]
    return pd.DataFrame(rows)


def file(folder, table, name="scores.csv"):
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path


def only(judgement):
    (standing,) = judgement.standings
    return standing


def test_pairs_ranks_and_best_are_those_of_bench_stats():
    values = scores(runs=3)
    judgement = bench.judge(frame(values), baseline="A")
    standing = only(judgement)
    family = stats.judged([stats.paired(values[m], values[0]) for m in (2, 1)])
    assert [(p.a, p.b) for p in standing.against] == [("C", "A"), ("B", "A")]
    for pair, judged in zip(standing.against, family, strict=True):
        assert pair.judged == judged and pair.runs == 3
    expected = ranks(values)
    assert standing.methods == ("C", "B", "A")
    for name in ("mean", "rank", "low", "high", "best"):
        assert getattr(standing.ranks, name).tolist() == getattr(expected, name)[::-1].tolist()


def wide(folder, values):
    table = pd.DataFrame({"case": [f"c{c:02d}" for c in range(CASES)]})
    return [
        file(folder, table.assign(**dict(zip(METHODS, values[:, :, 0], strict=True))), "dice.csv")
    ]


def json_lines(folder, values):
    path = Path(folder) / "scores.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in frame(values).to_dict("records")))
    return [path]


def parquet(folder, values):
    path = Path(folder) / "scores.parquet"
    table = frame(values)
    table.astype({"method": "category"}).to_parquet(path)
    return [path]


def semicolons(folder, values):
    path = Path(folder) / "scores.csv"
    frame(values).to_csv(path, index=False, sep=";", decimal=",")
    return [path]


def percent(folder, values):
    return [file(folder, frame(values).assign(dice=lambda t: 100 * t["dice"]))]


def percent_signs(folder, values):
    return [file(folder, frame(values).assign(dice=lambda t: (100 * t["dice"]).astype(str) + " %"))]


def a_file_each(folder, values):
    table = frame(values).drop(columns="seed")
    return [
        file(folder, table[table["method"] == m].drop(columns="method"), f"{m}.csv")
        for m in METHODS
    ]


def touchstone(folder, values):
    """``MODEL/dsc.csv``: a name, then a column for each organ."""
    return [
        file(
            folder,
            pd.DataFrame({"name": [f"c{c:02d}" for c in range(CASES)], "liver": values[m, :, 0]}),
            f"{method}/dsc.csv",
        )
        for m, method in enumerate(METHODS)
    ]


def monai(folder, values):
    """As ``write_metrics_reports`` leaves a folder's second metric: one heading too many."""
    for m, method in enumerate(METHODS):
        path = Path(folder) / method / "mean_dice_raw.csv"
        path.parent.mkdir()
        lines = [f"c{c:02d},{v},{v}" for c, v in enumerate(values[m, :, 0])]
        path.write_text("\n".join(["filename,class0,mean,mean", *lines]))
        (path.parent / "metrics.csv").write_text("mean_dice,0.5\n")
        (path.parent / "mean_dice_summary.csv").write_text("class,mean\nclass0,0.5\n")
    return [Path(folder)]


def nnunet(folder, values):
    """Two folds of each trainer, and the summary of all folds beside them."""
    for m, method in enumerate(METHODS):
        cases = [
            {
                "metrics": {"1": {"Dice": v, "FP": 3, "n_ref": 9}},
                "prediction_file": f"/somewhere/c{c:02d}.nii.gz",
                "reference_file": f"/elsewhere/c{c:02d}.nii.gz",
            }
            for c, v in enumerate(values[m, :, 0])
        ]
        for name, part in (
            ("fold_0/validation", cases[:5]),
            ("fold_1/validation", cases[5:]),
            ("crossval_results_folds_0_1", cases),
        ):
            path = Path(folder) / "Dataset004" / method / name / "summary.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"metric_per_case": part, "mean": {"1": {"Dice": 0.5}}}))
    return [Path(folder) / "Dataset004"]


def nnunet_1(folder, values):
    """The older version's summary.json."""
    for m, method in enumerate(METHODS):
        cases = [
            {
                "1": {"Dice": v, "Hausdorff Distance 95": "NaN"},
                "reference": "x",
                "test": f"/p/c{c:02d}.nii.gz",
            }
            for c, v in enumerate(values[m, :, 0])
        ]
        path = Path(folder) / method / "summary.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"results": {"all": cases, "mean": {}}, "task": "Task004"}))
    return [Path(folder)]


def mteb(folder, values):
    for m, c in product(range(len(METHODS)), range(CASES)):
        path = Path(folder) / f"org__{METHODS[m]}" / "revision" / f"c{c:02d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        item = {"main_score": values[m, c, 0], "hf_subset": "default"}
        result = {"mteb_version": "1.34.26", "task_name": f"c{c:02d}", "scores": {"test": [item]}}
        path.write_text(json.dumps(result))
    return [Path(folder)]


def eva(folder, values):
    for m, c in product(range(len(METHODS)), range(CASES)):
        path = (
            Path(folder) / METHODS[m] / "offline" / f"c{c:02d}" / "2024-05-01_ab" / "results.json"
        )
        path.parent.mkdir(parents=True)
        metric = {"test/BinaryAccuracy": {"mean": 0, "stdev": 0, "values": [values[m, c, 0]]}}
        path.write_text(json.dumps({"metrics": {"val": [], "test": [metric]}}))
    return [Path(folder)]


def eva_table(folder, values):
    """A leaderboard: a row for each model, a column for each data set."""
    columns = {f"c{c:02d}": values[:, c, 0] for c in range(CASES)}
    return [file(folder, pd.DataFrame({"model": METHODS, **columns}), "accuracy.csv")]


def torchgeo(folder, values):
    table = frame(values).rename(
        columns={"method": "name", "case": "dataset", "dice": "metric_value"}
    )
    more = dict(method="linear", metric_name="accuracy", model="package.Class", normalization="z")
    return [file(folder, table.assign(**more), "all_results.csv")]


def bench_score(folder, values):
    """What ``bench score --json`` prints of several predictions."""
    items = [
        {
            **{"case": f"c{c:02d}", "target": "1", "metric": "dice", "value": values[m, c, 0]},
            **{"unit": "1", "prediction": METHODS[m], "convention": "medpy"},
        }
        for m, c in product(range(len(METHODS)), range(CASES))
    ]
    items += [{**item, "convention": "monai", "value": 0.5} for item in items]
    items.insert(0, {**items[0], "case": "", "metric": "dice_pooled"})
    path = Path(folder) / "scores.json"
    path.write_text(json.dumps(items))
    return [path]


LAYOUTS = (
    bench_score,
    percent_signs,
    wide,
    json_lines,
    parquet,
    semicolons,
    percent,
    a_file_each,
    touchstone,
    monai,
    nnunet,
    nnunet_1,
    mteb,
    eva,
    eva_table,
    torchgeo,
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_numbers(tmp_path, layout):
    values = scores()
    standing = only(bench.judge(layout(tmp_path, values)))
    assert [m.removeprefix("org__") for m in standing.methods] == ["C", "B", "A"]
    best = [pair.judged.comparison for pair in standing.pairs]
    expected = [
        stats.compared(values[a] - values[b], flips=False) for a, b in ((2, 1), (2, 0), (1, 0))
    ]
    for ours, theirs in zip(best, expected, strict=True):
        assert (ours.difference, ours.low, ours.high) == pytest.approx(
            (theirs.difference, theirs.low, theirs.high), abs=1e-12
        )
        assert ours.patients == CASES and ours.verdict == "these weights only"


def test_what_is_left_out_of_scores_of_bench_is_said(tmp_path, capsys):
    (file,) = bench_score(tmp_path, scores())
    assert main(["judge", str(file)]) == 0
    text = capsys.readouterr().out
    assert "Left out: values over all cases at once." in text
    assert "Left out: conventions other than medpy; bench score --convention sets one." in text
    one = [{k: v for k, v in r.items() if k != "convention"} for r in json.loads(file.read_text())]
    pooled = [record for record in one if not record["case"]]
    file.write_text(json.dumps(pooled))  # and no convention, as of one prediction
    assert "holds only values over all cases at once" in refusal(capsys, "judge", file)


def test_what_was_taken_for_what_is_said_before_anything_is_claimed(tmp_path, capsys):
    path = file(tmp_path, frame(scores(runs=2)))
    assert main(["judge", str(path)]) == 0
    out = capsys.readouterr().out
    read, _, claimed = out.partition("neighbours")
    for line in (
        r"Method +column 'method' +3: A, B, C",
        r"Patient +the case: each is one patient +12",
        r"Run +column 'seed' +2: 0, 1",
        r"Metric dice +the heading 'dice' +higher is better \(by its name\), shares of one",
    ):
        assert re.search(line, read), line
    assert "Whether the runs were independent" in claimed
    assert "Whether the patients are independent" in claimed
    assert "Whether the test set" in claimed


OK = frame().drop(columns="seed")
DUPLICATE = pd.concat([OK, OK.iloc[[3]].assign(dice=0.5)])
WRONG = {
    "a method twice": (DUPLICATE, "line 5 and line 38: method 'A' is listed twice for case 'c03'"),
    "a method twice, to the word": (
        pd.concat([OK, OK.iloc[[3]]]),
        "'A' is listed twice for case 'c03'",
    ),
    "two rows of a patient": (
        DUPLICATE.rename(columns={"case": "patient"}),
        "two scans of one patient",
    ),
    "a setting": (
        pd.concat([OK.assign(lr="1"), OK.assign(lr="2")]),
        "differ in lr: keep one with --only",
    ),
    "units between methods": (
        OK.assign(dice=OK["dice"] * OK["method"].map({"A": 1, "B": 100, "C": 1})),
        "units are mixed: method 'A' has 0 to 1, 'B' percent",
    ),
    "units within a method": (
        OK.assign(dice=[100 * v if i % 3 else v for i, v in enumerate(OK["dice"])]),
        "units are mixed: ",
    ),
    "no direction": (OK.rename(columns={"dice": "zorp"}), "higher 'zorp' is better is not known"),
    "an infinite distance": (
        OK.rename(columns={"dice": "hd95"}).replace({"hd95": {OK["dice"][4]: np.inf}}),
        "line 6: hd95 of method 'A', case 'c04', is infinite",
    ),
    "text": (
        OK.astype({"dice": str}).replace({"dice": {str(OK["dice"][4]): "fair"}}),
        "line 6: column 'dice' has 'fair'",
    ),
    "a spread": (OK.assign(dice=OK["dice"].astype(str) + " ± 0.1"), "no column holds numbers"),
    "a Dice below 0": (OK.assign(dice=-OK["dice"]), "is not between 0 and 1"),
    "a Dice of 300": (OK.assign(dice=500 * OK["dice"]), "is not between 0 and 1"),
    "no case": (OK.drop(columns="case"), "one number for each method"),
    "no method": (OK.drop(columns="method").assign(hd95=3.0), "no column names the method"),
    "one method": (OK[OK["method"] == "A"], "has one method, 'A'"),
    "other cases": (
        OK.assign(case=OK["case"] + OK["method"]),
        "no case has scores of two methods for one target",
    ),
    "an empty name": (OK.replace({"method": {"B": ""}}), "column 'method' is empty"),
    "no score": (OK.assign(dice=np.nan), "no column holds numbers"),
    "no row": (OK.iloc[:0], "has a heading and no line"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_table_is_told_in_a_line(tmp_path, capsys, what):
    table, message = WRONG[what]
    assert message in refusal(capsys, "judge", file(tmp_path, table))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", "case,m\xe9thod\n1,2".encode("latin1"), "is no text in UTF-8"),
        ("a.csv", b"case,method,dice\nc,A,.5\nc,B\n", "line 3 has 2 cells, the heading 3"),
        ("a.csv", b"case,A,A\nc,.5,.6\n", "the heading has 'A' twice"),
        ("a.parquet", b"PAR1", "is no Parquet file that can be read"),
        ("a.jsonl", b'{"case": 1}\n{"cas', "line 2: is no JSON"),
        ("a.jsonl", b"3\n", "line 1: is 3, not an object"),
        ("a.json", b'{"x": 1}', "its layout is not known"),
        (
            "summary.json",
            b'{"metric_per_case": [{"metrics": {}}]}',
            "looks like nnU-Net's summary.json",
        ),
        ("a.xlsx", b"x", "is no file of scores that can be read"),
    ],
)
def test_a_file_that_is_no_table_is_told_in_a_line(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refusal(capsys, "judge", tmp_path / name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--baseline", "D"], "--baseline: no method of the table named 'D'"),
        (["--case", "kase"], "--case: no column named 'kase'; did you mean 'case'?"),
        (["--case", "method", "--method", "method"], "cannot be"),
        (["--require", "A beats B"], "is no 'A better than B'"),
        (["--require", "A better than Z"], "no method of the table named 'Z'"),
        (["--patients", "("], "is no regular expression"),
        (["--patients", r"(x)\d"], "gives no patient for case 'c00'"),
        (["--patients", r"c\d"], "put the part that names the patient in round brackets"),
        (["--only", "method"], "write COLUMN=VALUE"),
        (["--only", "colour=red"], "no column named 'colour'"),
        (["--only", "method=Z"], "leaves no row"),
        (["--without", "dise"], "no column named 'dise'; did you mean 'dice'?"),
        (["--region", "-1"], "the margin of equivalence must be"),
    ],
)
def test_a_wrong_flag_is_told_in_a_line(tmp_path, capsys, flags, message):
    assert message in refusal(capsys, "judge", file(tmp_path, OK), *flags)


def test_what_is_refused_goes_on_once_it_is_stated(tmp_path):
    far = OK.rename(columns={"dice": "hd95"}).replace({"hd95": {OK["dice"][4]: np.inf}})
    assert only(bench.judge(far, infinite="missing")).lacking == {"A": 1}
    assert not only(bench.judge(far, infinite="100")).lacking
    assert only(bench.judge(OK.rename(columns={"dice": "zorp"}), higher=False)).methods[0] == "A"
    tiny = OK.assign(
        dice=[100 * v if m == "B" else v for v, m in zip(OK["dice"], OK["method"], strict=True)]
    )
    assert only(bench.judge(tiny, unit="%")).methods[0] == "B"


def test_a_leaderboard_of_tasks_is_judged_over_its_tasks():
    values = scores()
    table = pd.DataFrame({f"Task {c}": values[:, c, 0] for c in range(CASES)})
    table = table.assign(Model=METHODS, Released=[2020, 2021, 2022])
    table["Mean (Task)"] = values.mean(axis=1)
    judgement = bench.judge(table, higher=True, without=["Released"])
    pair = only(judgement).pair("C", "A").judged.comparison
    assert (
        pair.difference == pytest.approx((values[2] - values[0]).mean()) and pair.patients == CASES
    )
    assert judgement.table.noun == "data set"
    assert {*judgement.table.notes} == {
        "columns left out as asked: Released",
        "columns left out: Mean (Task)",
    }


def test_missing_cases_are_said_and_left_out_pair_by_pair():
    values = scores()
    table = OK[~((OK["method"] == "B") & OK["case"].isin(["c00", "c01"]))]
    judgement = bench.judge(table)
    standing = only(judgement)
    sizes = {frozenset((p.a, p.b)): p.judged.comparison for p in standing.pairs}
    assert sizes[frozenset("AC")].patients == 12 and sizes[frozenset("BC")].patients == 10
    expected = stats.compared((values[2] - values[1])[2:], flips=False)
    assert sizes[frozenset("BC")].difference == pytest.approx(expected.difference, abs=1e-12)
    assert standing.lacking == {"B": 2} and standing.patients == 10
    assert standing.ranks.mean[0] == pytest.approx(values[2, 2:].mean())
    assert "B lacks 2" in repr(judgement)
    assert [p.only_a for p in standing.pairs if p.a == "C" and p.b == "B"] == [("c00", "c01")]


def test_a_region_is_in_the_unit_of_the_table():
    """0.05 of shares, 5 of percent: the same region."""
    share, percent = (
        only(bench.judge(OK.assign(dice=times * OK["dice"]), region=times * 0.05))
        for times in (1, 100)
    )
    for standing in (share, percent):
        assert standing.pair("C", "B").judged.comparison.rope == pytest.approx(0.05)
        assert standing.pair("C", "B").of_weights.verdict == "equivalent"


def test_cases_of_one_patient_are_one_unit():
    values = scores(cases=12)
    table = frame(values).drop(columns="seed")
    table["case"] = [f"p{int(c[1:]) // 2}_{int(c[1:]) % 2}" for c in table["case"]]
    judgement = bench.judge(table)
    assert "several scans of one patient (p0_0, p0_1)" in judgement.table.warnings[0]
    by_pattern = only(bench.judge(table, patients=r"(p\d+)_"))
    by_map = only(bench.judge(table, patients={c: c.partition("_")[0] for c in set(table["case"])}))
    paired = values.reshape(3, 6, 2, 1).mean(axis=2)
    expected = stats.compared(paired[2] - paired[1], flips=False)
    for standing in (by_pattern, by_map):
        pair = standing.pair("C", "B").judged.comparison
        assert (pair.patients, pair.high) == (6, pytest.approx(expected.high, abs=1e-12))


def test_patients_come_from_a_file(tmp_path):
    table = file(tmp_path, OK)
    mapped = tmp_path / "patients.csv"
    mapped.write_text("case,patient\n" + "\n".join(f"c{c:02d},p{c // 2}" for c in range(CASES)))
    assert (
        main(["judge", str(table), "--patients", str(mapped), "--to", str(tmp_path / "page")]) == 0
    )
    assert "p0" in (tmp_path / "page" / "table.md").read_text()


def test_runs_are_paired_by_name_or_in_order_and_that_is_said():
    values = scores(runs=2)
    table = frame(values)
    table["seed"] += 10 * table["method"].map({"A": 0, "B": 1, "C": 2})
    judgement = bench.judge(table)
    assert any(
        "the first run of one is paired with the first" in note for note in judgement.table.notes
    )
    pair = only(judgement).pair("C", "A")
    assert pair.judged.comparison == stats.compared(values[2] - values[0], flips=False)
    shared = frame(values)[lambda t: (t["method"] != "A") | (t["seed"] == 1)]
    lone = only(bench.judge(shared)).pair("C", "A")
    assert lone.runs == 1 and lone.verdict == "these weights only"


def test_runs_of_one_pretraining_hang_together():
    values = scores(runs=4)
    table = frame(values).assign(pretraining=lambda t: t["seed"] // 2)
    pair = only(bench.judge(table)).pair("C", "A").judged.comparison
    assert pair == stats.compared(
        values[2] - values[0], [0, 0, 1, 1], seeds=[0, 1, 2, 3], flips=False
    )


def test_one_pretraining_beside_several_is_of_these_weights():
    table = frame(scores(runs=3)).assign(pretraining=lambda t: t["seed"])
    lone = table.assign(pretraining=table["seed"].where(table["method"] != "C", 0))
    standing = only(bench.judge(lone))
    assert (
        standing.pair("C", "A").verdict == standing.pair("C", "B").verdict == "these weights only"
    )
    assert standing.pair("B", "A").verdict == "better"


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        *(("dice_loss", None), ("accuracy_error", None), ("score_time", False)),
        *(("mean_dice", True), ("test_loss", False), ("main_score", True), ("hd95", False)),
    ],
)
def test_which_way_a_name_says_is_better_and_of_two_ways_none_is_guessed(name, higher):
    from bench.extras.judge.columns import measure

    way = measure(name, None, alone=True)
    assert (way and way.higher) is higher


def test_what_is_best_at_0_or_only_counted_is_left_out(tmp_path, capsys):
    table = frame().assign(relative_volume_error=lambda t: t["dice"] - 0.6, lesion_predicted=3)
    judgement = bench.judge(table)
    assert [s.scope.metric for s in judgement.standings] == ["dice"]
    assert any("relative_volume_error" in note for note in judgement.table.notes)
    lone = file(tmp_path, table.drop(columns=["dice", "lesion_predicted"]))
    assert "best at 0, or nothing is ranked by it" in refusal(capsys, "judge", lone)


@pytest.mark.parametrize(("study", "datasets"), [("hippocampus", 0), ("eight_acdc", 2)])
def test_a_data_set_counts_once_over_data_sets_whatever_its_sections_and_fractions(study, datasets):
    records = ROOT / "results" / "studies" / "records" / f"studies_{study}.parquet"
    across = bench.judge(records).across
    assert {len(of.datasets) for of in across} == ({datasets} if datasets else set())
    most = f"{pd.read_parquet(records)['fraction'].max()} % of the labels"
    assert all(most in where for of in across for where in of.datasets)


def test_metrics_agree_by_the_same_patients():
    """Kendall's tau of two metrics is of means over what all methods have, as their ranks are."""
    table = frame().drop(columns="seed").assign(hd95=lambda t: 10 - 10 * t["dice"])
    hard = table.groupby("case")["dice"].mean().sort_values().index[:6]
    table.loc[table["method"].eq("A") & table["case"].isin(hard), "hd95"] = np.nan
    (order,) = bench.judge(table).orders
    assert order.tau == 1.0


def test_over_data_sets_and_metrics(tmp_path):
    tables = [frame(scores(seed=s), dataset=f"d{s}").drop(columns="seed") for s in range(4)]
    table = pd.concat(tables).assign(hd95=lambda t: 10 - 10 * t["dice"])
    judgement = bench.judge(file(tmp_path, table))
    assert [s.scope.dataset for s in judgement.mains] == ["d0", "d1", "d2", "d3"] * 2
    assert [a.metric for a in judgement.across] == ["dice", "hd95"]
    assert judgement.across[0].critical.rank.tolist() == [3, 2, 1]  # A, B, C
    assert judgement.across[1].critical.rank.tolist() == [3, 2, 1]
    assert [order.tau for order in judgement.orders] == [1.0] * 4
    assert all(s.pair("C", "A").judged.comparison.difference > 0 for s in judgement.mains)


def test_each_target_and_the_mean_over_them():
    values = scores()
    table = pd.concat([OK.assign(organ="liver"), OK.assign(organ="spleen", dice=OK["dice"] + 0.1)])
    judgement = bench.judge(table)
    assert [s.scope.target for s in judgement.standings] == ["", "liver", "spleen"]
    for standing in judgement.standings:
        difference = standing.pair("C", "A").judged.comparison.difference
        assert difference == pytest.approx((values[2] - values[0]).mean(), abs=1e-12)
    assert judgement.mains[0].ranks.mean[0] == pytest.approx(values[2].mean() + 0.05)


def test_ties_are_neighbours_of_whom_no_two_are_told_apart():
    values = np.concatenate([scores(), scores(seed=5)])[:, :, :]
    values[3:] = values[:3] + np.random.default_rng(3).normal(0, 0.001, values[:3].shape)
    names = ("A", "B", "C", "A2", "B2", "C2")
    standing = only(bench.judge(frame(values, names).drop(columns="seed")))
    apart = {frozenset((p.a, p.b)) for p in standing.pairs if p.told_apart}
    assert {frozenset(group) for group in standing.ties} == {
        frozenset(("A", "A2")),
        frozenset(("B", "B2")),
        frozenset(("C", "C2")),
    }
    assert len(apart) == 12


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("C better than A", True),
        ("A worse than C", True),
        ("C worse than A", False),
        ("A better than C", False),
        ("C equivalent to A", False),
    ],
)
def test_a_requirement_is_an_exit_code(tmp_path, capsys, text, held):
    path = file(tmp_path, frame(scores(runs=4)))
    assert main(["judge", str(path), "--require", text]) == (0 if held else 1)
    captured = capsys.readouterr()
    assert (f"holds: {text}" in captured.out) == held
    assert ("does not hold" in captured.err) == (not held)


def test_one_run_each_claims_nothing_of_methods(tmp_path):
    judgement = bench.judge(OK)
    assert judgement.requirement("C better than A")[0] is False
    assert judgement.requirement("C better than A of these weights")[0] is True
    assert "nothing can be said of methods" in repr(judgement)


def test_json_is_the_contract(tmp_path, capsys):
    path = file(tmp_path, frame(scores(runs=3)))
    assert main(["judge", str(path), "--baseline", "A", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["read"] == {"case": "case", "method": "method", "seed": "run", "dice": "score"}
    for pair in result["pairs"]:
        keys = [
            "a",
            "b",
            "dataset",
            "target",
            "n",
            "runs",
            "difference",
            "low",
            "high",
            "p",
            "p_holm",
            "verdict",
        ]
        assert {*keys} <= pair.keys() and pair["verdict"] in stats.VERDICTS
    assert [r["method"] for r in result["ranks"]] == ["C", "B", "A"]
    assert {"rank", "low", "high", "best"} <= result["ranks"][0].keys()
    assert result["ties"] == []


def test_page_and_files_say_the_same(tmp_path):
    judgement = bench.judge(frame(scores(runs=3)), baseline="A")
    page = judgement.write(tmp_path).read_text()
    assert (
        "What this page cannot know" in page
        and "<svg" in page
        and "http"
        not in re.sub(
            r"http://www.w3.org\S*|xmlns\S*|https?://(?:purl|creativecommons)\S*", "", page
        )
    )
    rows = list(csv.DictReader((tmp_path / "pairs.csv").read_text().splitlines()))
    assert [(r["a"], r["b"], r["baseline"]) for r in rows if r["baseline"] == "1"] == [
        ("C", "A", "1"),
        ("B", "A", "1"),
    ]
    pair = only(judgement).against[0]
    assert rows[0]["difference"] == printed(pair.judged.comparison.difference)
    for name in ("table.md", "table.tex"):
        assert "better" in (tmp_path / name).read_text()
    assert "<table>" in judgement._repr_html_() and "<script" not in judgement._repr_html_()


def test_a_page_does_not_say_where_the_files_lie(tmp_path):
    judgement = bench.judge(file(tmp_path / "deep" / "down", OK))
    assert str(tmp_path) not in judgement.write(tmp_path / "page").read_text()
    assert "down/scores.csv" in repr(judgement)


def test_a_name_that_is_markup_is_text(tmp_path):
    table = OK.replace({"method": {"A": "<b>&A", "B": "=1+1"}})
    judgement = bench.judge(table)
    assert "<b>&A" not in judgement.write(tmp_path).read_text() + judgement._repr_html_()
    assert "'=1+1" in (tmp_path / "pairs.csv").read_text()


STUDIES = ("studies_hippocampus", "studies_positive_control", "studies_hippocampus_controls")


@pytest.mark.parametrize("name", STUDIES)
def test_our_own_study_has_the_verdicts_of_its_report(name):
    """To the last of six decimals: paired by the report's own functions, in the report's families."""
    judgement = bench.judge(ROOT / "results" / "studies" / "records" / f"{name}.parquet")
    ours = {
        (p.a, p.b, s.scope.dataset, str(s.scope.fraction), s.scope.metric): p
        for s in judgement.mains
        for p in s.against
    }
    rows = list(csv.DictReader((ROOT / "reports" / name / "verdicts.csv").read_text().splitlines()))
    assert len(rows) >= 10
    for row in rows:
        pair = ours[row["row"], row["baseline"], row["section"], row["fraction"], row["metric"]]
        c, judged = pair.judged.comparison, pair.judged
        assert row["verdict"] == judged.verdict
        columns = [
            "difference",
            "low",
            "high",
            "p",
            "sd_patient",
            "sd_run",
            "sd_residual",
            "df",
            "detectable",
            "p_equivalent",
        ]
        assert [row[k] for k in columns] == [printed(getattr(c, k)) for k in columns]
        assert row["p_holm"] == printed(judged.p)
        assert row["p_equivalent_holm"] == printed(judged.p_equivalent)


def test_ranks_of_many_patients_are_drawn_in_pieces(monkeypatch):
    """The bootstrap's spread is that of all draws at once."""
    values = scores(cases=400, step=0.0003)
    at_once = ranks(values)
    monkeypatch.setattr("bench.stats.ranks.MANY", 300)
    monkeypatch.setattr("bench.stats.ranks.HELD", 4000)
    in_pieces = ranks(values)
    assert np.abs(in_pieces.best - at_once.best).max() < 0.06
    assert in_pieces.rank.tolist() == at_once.rank.tolist()


def test_the_ranks_of_challenger():
    """challengeR 1.0 (GPL), aggregateThenRank(mean) on its toy data: winners by hand, the rest by its rule.

    Its ``c_ideal``: five algorithms that do not overlap. Its bootstrap resamples n of n cases; ours n - 1.
    """
    rng = np.random.default_rng(4)
    low = (0.9, 0.8, 0.7, 0.6, 0.5)
    ideal = np.stack([rng.uniform(v, v + 0.09, 50) for v in low])
    random = 1 / (1 + np.exp(-rng.normal(1.5, 1, (5, 50))))
    names = [f"A{i}" for i in range(1, 6)]
    tables = [
        pd.DataFrame(
            {"task": task, "alg_name": names[a], "value": values[a, c], "case": c}
            for a, c in product(range(5), range(50))
        )
        for task, values in (("c_ideal", ideal), ("c_random", random))
    ]
    judgement = bench.judge(pd.concat(tables), higher=True)
    first, second = judgement.mains
    assert first.methods == tuple(names) and first.ranks.best[0] == 1
    assert first.ranks.low.tolist() == first.ranks.high.tolist() == [1, 2, 3, 4, 5]
    assert [*second.methods] == [names[i] for i in np.argsort(-random.mean(axis=1))]
    draws = rng.integers(50, size=(4000, 50))
    means = random[:, draws].mean(axis=2)
    best = (means == means.max(axis=0)).mean(axis=1)
    ours = dict(zip(second.methods, second.ranks.best, strict=True))
    assert [ours[name] for name in names] == pytest.approx(best.tolist(), abs=0.04)


def test_the_command_imports_no_torch_and_import_bench_is_quick(tmp_path):
    code = (
        "import sys, time; t = time.perf_counter(); import bench; bench.judge; took = time.perf_counter() - t\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules, 'heavy'\n"
        f"bench.judge({str(file(tmp_path, OK))!r})\n"
        "assert 'torch' not in sys.modules and took < 0.5, took"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


NOTEBOOK = ROOT / "docs" / "examples" / "judge.ipynb"


def test_the_notebook_runs_and_prints_what_it_shows(capsys):
    space: dict = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), space)
            shown = [out["text"] for out in cell["outputs"] if out["output_type"] == "stream"]
            assert capsys.readouterr().out == "".join(line for text in shown for line in text)
            html = [out["data"].get("text/html") for out in cell["outputs"] if "data" in out]
            if "judgement" in cell["source"][-1] and html:
                assert space["judgement"]._repr_html_() == "".join(html[0])


@pytest.mark.parametrize(
    ("metric", "mean", "compared"),
    [("DSC", 0.004, False), ("dice", 0.006, True), ("f1", 0.0, True)],
)
def test_nothing_is_compared_with_a_baseline_that_has_not_learned_the_task(metric, mean, compared):
    values = scores()
    values[0] = mean
    table = frame(values).rename(columns={"dice": metric})
    judgement = bench.judge(table, baseline="A")
    standing = only(judgement)
    assert ("A: has not learned the task" in "".join(judgement.table.warnings)) is not compared
    assert [pair.a for pair in standing.against] == (["C", "B"] if compared else [])
    assert len(standing.pairs) == (3 if compared else 1) and len(standing.means) == 3
    assert judgement.requirement("B better than A")[0] is False  # of one run each, or of none
    two = bench.judge(table[table["method"] != "C"], baseline="A")
    assert bool(only(two).pairs) is compared
