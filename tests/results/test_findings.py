"""Findings: every interval and verdict is that of the tracked report, or of its records."""

import csv
import json
import re
import statistics
from collections import Counter
from functools import cache
from pathlib import Path

import findings
import pandas as pd
import pytest
from scipy.stats import t

from bench import protocol as protocols
from bench import registry, stats
from bench.data import split
from bench.data.roots import Roots
from bench.stats import power, unpaired
from bench.stats.holm import holm

ROOT = Path(__file__).parents[2]
SHORT = (ROOT / "docs" / "findings.md").read_text()
MORE = (ROOT / "docs" / "findings_tables.md").read_text()
STUDIES = (ROOT / "docs" / "studies.md").read_text()
RECORDS = ROOT / "results" / "studies" / "records"
PAIR_LINE = re.compile(
    r"^\| `(?P<report>\w+)` \| `(?P<row>[^`]+)` \| `(?P<other>[^`]+)` "
    r"\| (?P<section>[\w ]+), (?P<fraction>\d+) % "
    r"\| (?P<difference>\S+) \[(?P<low>\S+) to (?P<high>\S+)\] \| (?P<verdict>[^|]+?) \|$",
    re.MULTILINE,
)
NUMBERS = ("difference", "low", "high")
APART = (
    "studies_positive_control",
    "studies_probes",
    "studies_ladder",
)  # of labels; of encoders that are not trained
PAIRS = [match.groupdict() for match in PAIR_LINE.finditer(STUDIES)]


def of_reports():
    """Yield every comparison of the studies' reports with scratch, in the words and the order of the pages."""
    files = {file.parent.name: file for file in (ROOT / "reports").glob("studies_*/verdicts.csv")}
    listed = [f"studies_{name}" for name in re.findall(r"^\| \[`(\w+)`\]", STUDIES, re.MULTILINE)]
    assert {*files} <= {*listed}
    for file in (files[name] for name in listed if name in files):
        for line in csv.DictReader(file.read_text().splitlines()):
            if line["metric"] == "dice":
                numbers = dict(
                    zip(NUMBERS, points(*(float(line[k]) for k in NUMBERS)), strict=True)
                )
                seen = f"{100 * float(line['detectable'] or 'nan'):.1f}"
                yield {**line, **numbers, "report": file.parent.name, "detectable": seen}


@pytest.mark.parametrize("finding", PAIRS, ids=lambda finding: "-".join(list(finding.values())[:5]))
def test_a_row_beside_another_is_what_the_records_say(finding):
    gained = paired_means(finding["report"], finding["row"], finding["other"], finding)
    assert [finding[key] for key in (*NUMBERS, "verdict")] == compared(gained)


def later_draws():
    """Return the difference of the five later draws of two left atria."""
    where = {"section": "lasc", "fraction": "5"}
    gained = paired_means("studies_left_atrium_few", "voco", "scratch", where)
    return "{} [{} to {}]".format(*compared(gained[[3, 4, 5, 6, 7]]))


def network_gains():
    """Yield by how much a gain over random encoders grows with the network, and by how much the ceiling does."""
    study, where = "studies_ladder_hippocampus", {"section": "msd04_hippocampus"}
    for row, share in (("voco_", "5"), ("voco_", "100"), ("ceiling ", "5")):
        small, large = (
            paired_means(study, f"{row}{net}", f"scratch_{net}", where | {"fraction": share})
            for net in ("w4", "w8")
        )
        yield "{} [{} to {}]".format(*compared(large - small))
    both = paired_means(study, "ceiling w8", "ceiling w4", where | {"fraction": "5"})
    yield "{} [{} to {}]".format(*compared(both))


def hospital_changes():
    """Yield how far scratch's score of the left ventricle changes from ACDC to Sunnybrook, at both shares."""
    scores = records_of("studies_eight_acdc")
    at = scores["row"].eq("scratch") & scores["metric"].eq("dice")
    scores = scores[at & scores["target"].eq("left ventricle")]
    for share in (20, 100):
        of_share = scores[scores["fraction"].eq(share)]
        acdc, sunnybrook = (
            of_share[of_share["section"].eq(section)]
            .groupby(["patient", "seed"], observed=True)["value"]
            .mean()
            .unstack("seed")
            for section in ("acdc", "acdc on own_sunnybrook")
        )
        change = unpaired.change(acdc.to_numpy(), sunnybrook.to_numpy(), seeds=list(acdc))
        yield "{} [{} to {}]".format(*points(change.mean, change.low, change.high))


def of_scratch(study, section, share, metric, folder="studies"):
    """Return scratch's mean and median score over test scans, structures and runs."""
    scores = records_of(study, folder)
    at = scores["row"].eq("scratch") & scores["metric"].eq(metric) & scores["fraction"].eq(share)
    values = scores[at & scores["section"].eq(section)]["value"]
    return values.mean(), values.median()


def of_pilot(pilot, section, share):
    """Return scratch's mean Dice and HD95 in a section of a pilot."""
    return [of_scratch(pilot, section, share, metric, "pilot")[0] for metric in ("dice", "hd95")]


def test_what_claim_8_says_of_scratch_is_recorded():
    study = "studies_eight_acdc"
    far = [of_scratch(study, "acdc", share, "hd95") for share in (20, 100)]
    (few, few_median), (every, every_median) = far
    text = f"{few:.0f} mm with 11 patients and {every:.0f} mm with 55"
    assert text in SHORT
    assert f"{text} (median {few_median:.0f} and {every_median:.0f} mm)" in MORE
    sunnybrook = [of_scratch(study, "acdc on own_sunnybrook", share, "hd95") for share in (20, 100)]
    assert [round(mean) for mean, _ in sunnybrook] == [29, 29]
    assert "it is 29 mm (median {:.0f} and {:.0f} mm)".format(*(m for _, m in sunnybrook)) in MORE
    plain, augmented = (of_pilot("pilot_acdc", way, 20) for way in ("plain", "augmented"))
    assert f"from {100 * plain[0]:.0f} to {100 * augmented[0]:.0f} % on ACDC" in MORE
    assert f"grew with augmentation from {plain[1]:.0f} to {augmented[1]:.0f} mm" in MORE
    external = [
        100 * of_pilot("pilot_acdc", f"{way} on own_sunnybrook", 20)[0]
        for way in ("plain", "augmented")
    ]
    assert "and from {:.0f} to {:.0f} % on Sunnybrook".format(*external) in MORE
    dice = 100 * of_scratch(study, "acdc", 100, "dice")[0]
    assert f"with all labels its Dice is {dice:.2f}, and" in MORE
    assert f"its Dice is {dice:.0f} with all labels, and 80 is required" in SHORT
    plain, upright = (of_pilot("pilot_hearts", way, 100) for way in ("plain", "upright"))
    assert f"reach {100 * plain[0]:.1f}, with an HD95 of {plain[1]:.0f} mm, and with turns" in MORE
    assert f"no flips {100 * upright[0]:.1f} and {upright[1]:.0f} mm (two runs each" in MORE
    assert f"a Dice of {100 * plain[0]:.0f} and an HD95 of {plain[1]:.0f} mm" in SHORT
    external = [
        100 * of_scratch(report, f"{section} on own_sunnybrook", 100, "dice", folder)[0]
        for report, section, folder in (
            *(("pilot_hearts", section, "pilot") for section in ("plain", "upright")),
            (study, "acdc", "studies"),
        )
    ]
    text = "on Sunnybrook is {:.0f} and with small turns {:.0f}, and with that of the study {:.0f}"
    assert text.format(*external) in MORE
    assert "only {0:.0f} instead of {2:.0f} at the other hospital".format(*external) in SHORT


def two_machines():
    """Return the difference of one row that was trained on two machines."""
    scores = records_of("studies_eight_hippocampus")
    at = scores["row"].eq("scratch") & scores["metric"].eq("dice") & scores["fraction"].eq(5)
    means = scores[at].groupby(["section", "patient", "seed"], observed=True)["value"].mean()
    return "{} [{} to {}]".format(
        *compared((means["each"] - means["msd04_hippocampus"]).unstack("seed"))
    )


def compared(gained):
    """Return a difference, its interval and its verdict, as printed."""
    result = stats.compared(gained.to_numpy(), None, rope=0.01, seeds=list(gained))
    return [*points(result.difference, result.low, result.high), result.verdict]


# test crops of hippocampi whose other crop trains (``test_those_crops_are_the_ones_that_the_split_divides``)
DIVIDED = [4, 24, 33, 41, 125, 169, 222, 226, 234, 251, 288, 297, 301, 338, 376, 385, 389, 394]
TWO_CROPS = {  # a line of the table: study, row
    "MAE on a CNN, light decoder": ("kinds_hippocampus", "mae_cnn3d"),
    "rotation, light decoder": ("light_hippocampus", "rotation3d"),
    "Models Genesis, light decoder": ("kinds_hippocampus", "models_genesis"),
    "SparK, light decoder": ("kinds_hippocampus", "spark3d"),
    "vox2vec, light decoder": ("light_hippocampus", "vox2vec"),
    "VoCo, light decoder": ("light_hippocampus", "voco"),
    "LeJEPA, light decoder": ("kinds_hippocampus", "lejepa3d"),
    "Volume Fusion, light decoder": ("kinds_hippocampus", "volume_fusion"),
    "pretrained with labels, light decoder": ("light_hippocampus", "ceiling"),
    "pretrained with labels, light decoder, decoder too": ("kinds_hippocampus", "ceiling"),
    "pretrained with labels, usual decoder, decoder too": ("eight_hippocampus", "ceiling"),
    "the same with three pretrainings (claim 3), one rate": (
        "positive_control",
        "ceiling",
        "alike",
    ),
    "the same with three pretrainings (claim 3), settings of its own": (
        "positive_control",
        "ceiling",
    ),
}


def independent(gained):
    return gained.drop([f"hippocampus_{number:03d}" for number in DIVIDED])


def both_ways(study, row, section="each"):
    """Return a difference with its interval in print, of all test crops and of those that are independent."""
    gained = paired_means(f"studies_{study}", row, "scratch", {"section": section, "fraction": "5"})
    apart = independent(gained)
    assert (len(gained), len(apart)) == (42, 24)
    return ["{} [{} to {}]".format(*compared(of)) for of in (gained, apart)]


def more_by_divided():
    """Yield of each line how much more the divided crops gain than the others: the difference, in print."""
    for study, row, *section in TWO_CROPS.values():
        where = {"section": (section or ["each"])[0], "fraction": "5"}
        gained = paired_means(f"studies_{study}", row, "scratch", where)
        apart = independent(gained)
        both = (of.to_numpy() for of in (apart, gained.drop(apart.index)))
        yield unpaired.change(*both, seeds=list(gained))


def test_divided_crops_are_not_shown_to_gain_more_without_labels():
    more = dict(zip(TWO_CROPS, more_by_divided(), strict=True))
    methods = [line for line, of in TWO_CROPS.items() if of[1] != "ceiling"]
    assert len(methods) == 8 and all(more[line].low < 0 < more[line].high for line in methods)
    lines = ("MAE on a CNN, light decoder", "rotation, light decoder")
    lines += ("pretrained with labels, light decoder",)
    texts = ["{} [{} to {}]".format(*points(c.mean, c.low, c.high)) for c in map(more.get, lines)]
    text = "(MAE {}, rotation {} more); it is shown for weights pretrained with labels (light decoder: {} more)."
    assert text.format(*texts) in MORE


@pytest.mark.parametrize("line", TWO_CROPS)
def test_with_and_without_the_test_crops_whose_scan_also_trains(line):
    said = dict(re.findall(r"^\| (.+?) \| (.+) \|$", MORE, re.MULTILINE))
    assert said[line].split(" | ") == both_ways(*TWO_CROPS[line])


def again(report, line, apart=False):
    """Return a line of verdicts.csv compared again from the records, perhaps without the divided crops."""
    where = {"section": line.section, "fraction": line.fraction}
    gained = paired_means(report, line.row, line.baseline, where)
    gained = independent(gained) if apart else gained
    rows = records_of(report)
    at = rows["section"].eq(line.section) & rows["fraction"].eq(line.fraction)
    scratch = rows[at & rows["metric"].eq("dice") & rows["row"].eq(line.baseline)]
    patients = scratch.groupby(["patient", "seed"], observed=True)["value"].mean().unstack("seed")
    limit = stats.region(patients.mean().tolist()).rope
    return [
        stats.compared(gained.to_numpy(), None, rope=rope, seeds=list(gained))
        for rope in (limit, 0.01)
    ]


def families():
    """Yield the lines of each family of the studies: report, lines of verdicts.csv."""
    for file in sorted((ROOT / "reports").glob("studies_*/verdicts.csv")):
        report, table = file.parent.name, verdicts_of(file.parent.name)
        # draws of one pretraining have another structure, and take minutes
        if report not in ("studies_probes_2d", "studies_probes_3d"):
            of_dice = table[table["metric"].eq("dice")]
            for _, lines in of_dice.groupby(["section", "fraction", "control"], sort=False):
                yield report, list(lines.itertuples())


def after_holm(p, lines):
    """Adjust p in a family; rows that have not run count as 1."""
    waiting = [1.0] * (lines[0].comparisons - len(lines))
    return holm([*p, *waiting])[: len(lines)]


def test_each_line_of_verdicts_is_what_its_records_say():
    checked = 0
    for report, lines in families():
        for line in lines:
            c, _ = again(report, line)
            said = [line.difference, line.low, line.high, line.p, line.p_equivalent]
            found = [c.difference, c.low, c.high, c.p, c.p_equivalent]
            assert said == pytest.approx(found, abs=2e-6, nan_ok=True), (report, line.row)
            checked += 1
    assert checked > 200


def test_what_the_independent_test_crops_change():
    once = each_comparison_once()[["report", "section", "fraction", "row"]]
    first = {*once.itertuples(index=False, name=None)}
    changes, judged, lost, equal, open_, within = [], 0, 0, 0, {}, {}
    for report, lines in families():
        rows = records_of(report)
        rows = rows[rows["section"].eq(lines[0].section)]
        if set(zip(rows["dataset"], rows["split"], strict=True)) != {("msd04_hippocampus", "rule")}:
            continue
        apart = [again(report, line, apart=True) for line in lines]
        both = [again(report, line) for line in lines]
        p, equivalent = (
            after_holm([getattr(c, key) for c, _ in apart], lines) for key in ("p", "p_equivalent")
        )
        one = [after_holm([c.p_equivalent for _, c in pairs], lines) for pairs in (apart, both)]
        for n, line in enumerate(lines):
            changes.append(apart[n][0].difference - line.difference)
            judged += line.verdict in ("better", "worse")
            lost += line.verdict in ("better", "worse") and p[n] >= 0.05
            if (report, line.section, line.fraction, line.row) in first:
                equal += line.verdict == "equivalent"
                if line.verdict == "equivalent" and equivalent[n] >= 0.05:
                    open_[report, line.row, line.fraction] = equivalent[n]
                if line.section == "more_labels":
                    within[line.row, line.fraction] = max(p[n] for p in one)
    median = statistics.median(changes)
    mae = open_["studies_kinds_hippocampus", "mae_cnn3d", 5]
    assert (
        f"In {len(changes)} comparisons of hippocampi (all but those of `probes_3d`) the difference changes by "
        f"{points(median)[0][:-1]} points in the median. Of {judged} verdicts `better` or `worse`, "
        f"{judged - lost} stay."
    ) in MORE
    assert (
        f"Of {equal} verdicts `equivalent` of methods, {equal - len(open_)} stay. "
        f"That MAE's gain with seven patients is below one point is not shown either (p {mae:.3f})"
    ) in MORE
    assert len(within) == 16 and max(within.values()) < 0.05


def test_the_study_with_both_crops_on_one_side_says_the_same_of_scans():
    at = {"section": "each", "fraction": "5"}
    texts = []
    for row in ("mae_cnn3d", "rotation3d", "dose 0.25"):
        gained = paired_means("studies_by_scan_hippocampus", row, "scratch", at)
        scans = [(int(patient[-3:]) + 1) // 2 for patient in gained.index]
        by_scan = gained.groupby(scans).mean()
        assert (len(gained), len(by_scan)) == (46, 34)
        assert compared(by_scan)[-1] == compared(gained)[-1]
        texts.append("{} [{} to {}]".format(*compared(by_scan)))
    text = "MAE {}, rotation {}, 25 % of the control's weights {}. No verdict changes."
    assert "The 46 test crops come from 34 scans." in MORE and text.format(*texts) in MORE


@pytest.mark.usefixtures("real_data")
def test_those_crops_are_the_ones_that_the_split_divides():
    name = "msd04_hippocampus"
    if (root := Roots.here(None).find(name)) is None:
        pytest.skip("the hippocampi are not here")
    dataset = registry.load("dataset", name)()
    cases = dataset.cases(root)
    (fold,) = split.folds(dataset, name, cases, "rule")
    scan = {case.patient: dataset.scan(case) for case in cases}
    trained = {scan[patient] for patient in fold.train}
    divided = [int(patient[-3:]) for patient in fold.test if scan[patient] in trained]
    assert (divided, len(fold.test)) == (DIVIDED, 42)


def test_each_interval_of_the_two_pages_is_in_a_report():
    known = {"{difference} [{low} to {high}]".format(**f) for f in (*of_reports(), *PAIRS)}
    known |= {text for of in TWO_CROPS.values() for text in both_ways(*of)}
    of_crops = MORE
    for start in ("With the mean of both crops ", "- The small gains of MAE and rotation become "):
        of_crops = of_crops.replace(re.search(re.escape(start) + ".*", of_crops)[0], "")
    intervals = re.findall(r"[+\N{MINUS SIGN}]\d+\.\d+ \[\S+ to \S+\]", SHORT + of_crops)
    assert len(intervals) > 40
    known |= {later_draws(), two_machines(), *network_gains(), *hospital_changes()}
    assert [interval for interval in intervals if interval not in known] == []


PAPERS = {  # a line of the table of the five papers: report, row, section, share
    "PGL | hippocampi, 7 patients, one rate": ("hippocampus", "pgl", "msd04_hippocampus", 5),
    "HSSL | slices of left atria, 2 patients, one rate": ("slices_left_atrium", "hssl", "lasc", 5),
    "VoCo | hippocampi, 7 patients, rate chosen": ("light_hippocampus", "voco", "each", 5),
    "VoCo | left atria, 2 patients, one rate": ("left_atrium_few", "voco", "lasc", 5),
    "Taleb et al., rotation | hippocampi, 7 patients, rate chosen": (
        *("light_hippocampus", "rotation3d", "each", 5),
    ),
    "Taleb et al., rotation | slices of hearts, 11 patients, one rate": (
        *("eight_acdc", "rotation2d", "acdc", 20),
    ),
    "GL-MAE | hippocampi, 7 patients, one rate": ("hippocampus", "glmae", "msd04_hippocampus", 5),
}
KINDS = {  # a line of the table of other kinds: row
    "MAE on a CNN": "mae_cnn3d",
    "Models Genesis": "models_genesis",
    "Volume Fusion": "volume_fusion",
    "SparK": "spark3d",
    "LeJEPA": "lejepa3d",
    "VoCo": "voco",
    "vox2vec": "vox2vec",
    "rotation": "rotation3d",
    "25 % of the control's weights, the rest random": "dose 0.25",
    "50 %": "dose 0.5",
    "75 %": "dose 0.75",
    "pretrained with labels (the control)": "ceiling",
}
OF_LIGHT = ("vox2vec", "rotation3d", "voco")  # with seven patients they are in light_hippocampus


def test_each_line_of_the_tables_has_the_interval_and_the_verdict_of_its_row():
    reports = {(f["report"], f["row"], f["section"], int(f["fraction"])): f for f in of_reports()}
    for line, (study, *at) in PAPERS.items():
        f = reports["studies_" + study, *at]
        cells = re.search(rf"^\| {re.escape(line)} \| (.*) \| (.*) \|$", SHORT, re.MULTILINE)
        control = reports.get(("studies_" + study, "ceiling", *at[1:]))
        expected = control["difference"] if control else "none"
        assert cells[1] == "{difference} [{low} to {high}] | {}".format(expected, **f), line
        assert ("equivalent" in cells[2]) == (f["verdict"] == "equivalent"), line
    for line, row in KINDS.items():
        cells = []
        for section, share in (("each", 5), ("more_labels", 20), ("more_labels", 100)):
            light = section == "each" and row in OF_LIGHT
            study = "studies_light_hippocampus" if light else "studies_kinds_hippocampus"
            f = reports[study, row, section, share]
            verdict = "" if f["verdict"] == "not separable" else f", {f['verdict']}"
            cells.append("{difference} [{low} to {high}]".format(**f) + verdict)
        assert f"| {line} | {' | '.join(cells)} |" in MORE
    for line, study, section in (
        ("light decoder, each row chooses its rates", "light", "each"),
        ("usual decoder, low rate and late start", "eight", "low_rate"),
        ("frozen", "probes", "msd04_hippocampus"),
    ):
        cells = re.search(rf"^\| {line} \| (.*) \|$", MORE, re.MULTILINE)[1].split(" | ")
        report = (
            "studies_probes_hippocampus" if study == "probes" else f"studies_{study}_hippocampus"
        )
        for row, cell in zip(("rotation3d", "voco", "vox2vec", "ceiling"), cells, strict=True):
            f = reports.get((report, row, section, 5))
            assert cell == ("{difference} [{low} to {high}]".format(**f) if f else "not run"), line


def test_each_figure_has_the_numbers_of_the_reports():
    drawn = {file.stem for file in (ROOT / "docs" / "findings").iterdir()}
    assert drawn == {*findings.claims()}
    for name, rows in findings.claims().items():
        assert f"](findings/{name}.svg)" in SHORT + MORE and len(rows) > 1
        picture = (ROOT / "docs" / "findings" / f"{name}.svg").read_text(encoding="utf-8")
        texts = [" ".join(text.split()) for text in re.findall(r"<text[^>]*>([^<]*)<", picture)]
        assert all(any(text.startswith(row.axis) for text in texts) for row in rows)
        wanted = Counter(" ".join(row.text.split()) for row in rows)
        assert wanted <= Counter(texts), name


def test_each_interval_with_a_smallest_difference_has_that_of_its_row():
    """The table of the papers' claims: a claim with one is a row against scratch."""
    line = r"^\|.*\| (\S+) \[(\S+) to (\S+)\] \| ([\d.]+) \| "
    claims = re.findall(line, MORE, re.MULTILINE)
    rows = {tuple(f[key] for key in (*NUMBERS, "detectable")) for f in of_reports()}
    assert len(claims) > 5 and {*claims} <= rows


def test_each_study_has_as_many_cells_as_its_table_says():
    table = re.findall(
        r"^\| \[`(\w+)`\]\(\S+\): [^|]+ \| (\d+)(?: of \d+)? \| ", STUDIES, re.MULTILINE
    )
    assert {name for name, _ in table} == {
        file.stem for file in (ROOT / "protocols" / "studies").glob("*.yaml")
    } & {file.stem.removeprefix("studies_") for file in RECORDS.glob("studies_*.parquet")}
    keys = ["row", "section", "fraction", "seed", "fold", "pretrain_seed"]
    for name, cells in table:
        rows = pd.read_parquet(RECORDS / f"studies_{name}.parquet", columns=keys)
        assert len(rows.drop_duplicates()) == int(cells), name


def each_comparison_once():
    """Return the verdict of every fine-tuned method against scratch; the same networks count once."""
    first = {}  # the study that comes first: how much is corrected hangs on its rows
    for finding in of_reports():
        control = finding["row"].endswith(("(shuffled)", "(long)")) or finding["row"].startswith(
            ("ceiling", "dose ")
        )
        if control or finding["report"].startswith(APART):
            continue
        rows = records_of(finding["report"])
        at = rows["metric"].eq("dice") & rows["row"].eq(finding["row"])
        for key, value in (("section", finding["section"]), ("fraction", int(finding["fraction"]))):
            at &= rows[key].eq(value)
        scores = rows[at].sort_values(["seed", "patient", "case", "target"])["value"].to_numpy()
        assert len(scores)
        first.setdefault(scores.tobytes(), finding)
    lines = []
    for finding in first.values():
        table = verdicts_of(finding["report"])
        at = table["row"].eq(finding["row"]) & table["section"].eq(finding["section"])
        (line,) = table[at & table["fraction"].eq(int(finding["fraction"]))].to_dict("records")
        lines.append({**line, "report": finding["report"]})
    return pd.DataFrame(lines)


def counts_in_short():
    """Return the sentences that count comparisons: two in short, and those in detail."""
    lines = each_comparison_once()
    kinds = lines["verdict"].value_counts()
    assert {*kinds.index} == {"equivalent", "not separable", "worse"}
    assert lines["metric"].eq("dice").all() and not lines["control"].any()
    n, equal, open_ = len(lines), kinds["equivalent"], kinds["not separable"]
    corrected = [
        power.detectable(
            power.Noise(line.sd_patient, line.sd_run, line.sd_residual),
            line.patients,
            line.pretrainings,
            line.comparisons,
        )
        for line in lines.itertuples()
    ]
    alone = lines["detectable"].fillna(float("inf"))  # nothing can be shown
    seen = pd.DataFrame({"alone": alone, "corrected": corrected})
    few, blind = (lines["why"].str.startswith(why).fillna(False) for why in ("too few", "blind"))
    silent = few | blind
    excluded = lines["verdict"].eq("not separable") & lines["high"].lt(0.01) & ~silent
    assert silent.le(lines["verdict"].eq("not separable")).all()
    certified = {f["report"] for f in of_reports() if f["row"].startswith("ceiling")}
    uncontrolled = ~lines["report"].isin(certified)
    eight = lines["pretrainings"].eq(8)
    groups = [seen, seen[eight], seen[~eight]]
    at_most = [[of.le(limit).sum() for of in groups] for limit in (0.01, 0.02)]
    medians = [100 * of.median() for of in groups]
    (one, two), (one_after, two_after) = (
        [of[0][key] for of in at_most] for key in ("alone", "corrected")
    )
    short = (
        f"each comparison counted once | {n} |",
        f"`not separable` | 0, 4, {equal}, {open_} |",
        f"of these {open_}: the interval, without correction, excludes a gain of one point (without a positive "
        f"control) | {excluded.sum()} ({(excluded & uncontrolled).sum()}) |",
        f"of these {open_}: nothing can be shown (five test patients, or not even the positive control is found) | "
        f"{silent.sum()} ({few.sum()}, {blind.sum()}) |",
        f"survives their fine-tuning | {uncontrolled.sum()} |",
        f"at most one point (with correction) | {one} ({one_after}) |",
        f"| {two} ({two_after}; {at_most[1][1]['corrected']}) |",
    )
    long = (
        f"Of {n} comparisons of a fine-tuned method with scratch no verdict is `better`, four are `worse` "
        "(in-painting, MoCo and rotation with kept norm statistics, claim 8; rotation at a low rate, claim 1), "
        f"{equal} are equivalent and {open_} are not separable. ",
        f"| | all {n} | {eight.sum()} with eight pretrainings | {(~eight).sum()} others |",
        *(
            f"| at most {word} | {' | '.join(f'{of.alone} ({of.corrected})' for of in counts)} |"
            for word, counts in zip(("one point", "two points"), at_most, strict=True)
        ),
        f"| median, points | {' | '.join(f'{of.alone:.1f} ({of.corrected:.1f})' for of in medians)} |",
        f"Nothing can be shown in {silent.sum()} of the {n}: {few.sum()} have five test patients, and in "
        f"{blind.sum()} not even weights pretrained with labels are shown to be better. {uncontrolled.sum()} of "
        f"the {n} stand on pages without a positive control.",
    )
    assert (equal, kinds["worse"]) == (21, 4)
    return short, long


def test_what_is_said_in_short_counts_every_comparison_once():
    short, long = counts_in_short()
    assert [text for text in short if text not in SHORT] == []
    lines = each_comparison_once()
    hearts = lines[lines["report"].eq("studies_eight_acdc")]
    assert hearts["verdict"].eq("worse").sum() == 3
    assert f"The {len(hearts)} comparisons there, three of the four `worse` among them," in SHORT
    assert [text for text in long if text not in MORE] == []


def test_what_is_said_of_weights_alone_is_what_the_pilots_pages_say():
    page = (ROOT / "docs" / "statistics.md").read_text()
    told = dict(re.findall(r"^\| (\w+), \d+ patients, .* \| ([^|]+) \|$", page, re.MULTILINE))
    assert {*told} == {"pilot_hippocampus", "pilot_lasc", "methods_2d", "methods_3d"}
    for report, counts in told.items():
        with (ROOT / "reports" / report / "verdicts.csv").open(newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["control"] == "0"]
        kinds = Counter(map(of_weights, lines))
        assert counts == ", ".join(f"{kinds[v]} {v}" for v in stats.VERDICTS if kinds[v])
    with (ROOT / "reports" / "pilot_acdc" / "verdicts.csv").open(newline="") as file:
        pilots = [line["verdict"] for line in csv.DictReader(file) if line["control"] == "0"]
    assert pilots.count("worse") == 1 and "better" not in pilots


def of_weights(line):
    """Return the verdict on the weights alone of a line of verdicts.csv."""
    names = ("difference", "low", "high", "p", "p_equivalent")
    lowest = stats.smallest_p(int(line["patients"]))
    given = {name: float(line[name]) for name in names} | {"smallest_p": lowest}
    return stats.Comparison(verdict="", patients=int(line["patients"]), **given).of_weights


def test_what_is_said_of_frozen_encoders_counts_each_comparison_with_a_random_one():
    counts = {}
    for study in ("probes_2d", "probes_3d"):
        with (ROOT / "reports" / f"studies_{study}" / "verdicts.csv").open(newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["control"] == "0"]
        assert {line["metric"] for line in lines} == {"dice"}
        above = sum(float(line["low"]) > 0 for line in lines)
        counts[study] = len(lines), above, sum(float(line["high"]) < 0 for line in lines)
    n, above, below = counts["probes_2d"]
    assert below == 0
    assert f"Of the {n} comparisons of 2D encoders with random ones (claim 2, " in MORE
    assert f"the interval lies above zero in {above} and below zero in none" in MORE
    text = "Of the {} in 3D it lies above zero in {} and below zero in {} ("
    assert text.format(*counts["probes_3d"]) in MORE
    n, _, below = counts["probes_3d"]
    assert f"in {below} of {n} comparisons the interval lies below zero" in MORE


def test_what_is_said_of_the_3d_methods_that_are_better_everywhere():
    table = verdicts_of("studies_probes_3d")
    table = table[table["control"] == 0]
    rows = table.assign(above=table["low"] > 0, below=table["high"] < 0).set_index("section")
    everywhere = rows.groupby("row")["above"].all()
    assert {*everywhere[everywhere].index} == {"mae_cnn3d", "vox2vec", "voco"}
    assert f"three of {len(everywhere)} pretrained encoders in 3D are better" in MORE
    of_cnn = rows["baseline"].eq("scratch_unet")
    sizes = [rows.loc[of, "row"].nunique() for of in (of_cnn, ~of_cnn)]
    assert "({} encoders of a CNN and {} of a UNETR, two organs".format(*sizes) in MORE
    rows = rows[of_cnn]
    better = rows.loc["msd04_hippocampus"].groupby("row")["above"].all()
    worse = rows.loc["lasc"].groupby("row")["below"].any()
    assert (better & worse).sum() == 10
    assert "Ten other methods of the CNN are better on hippocampi" in MORE


def test_what_is_said_of_ranks_is_what_their_page_says():
    def printed(*values):
        return [f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in values]

    page = (ROOT / "reports" / "ranks" / "table.md").read_text()
    tau, number, low, high = re.search(
        r"tau is (\S+), the mean over (\d+) comparisons \(95 % interval (\S+) to (\S+)\): there is no",
        page,
    ).groups()
    assert number == "11"
    assert f"is {tau}, the mean over eleven comparisons (95 % interval {low} to {high};" in MORE
    assert f"tau {tau} (95 % interval {low} to {high})" in SHORT
    table = pd.read_csv(ROOT / "reports" / "ranks" / "table.csv")
    clear = table.groupby(["finetuned", "finetuned_fraction", "network"])["low"].first() > 0
    assert clear.sum() == 2 and "No other interval lies above zero." in MORE
    table = table[table["network"].eq("genesis_unet3d/tiny")]

    def taus(study, fraction):
        at = table["finetuned"].eq(study) & table["finetuned_fraction"].eq(fraction)
        return printed(*table[at][["tau", "low", "high"]].drop_duplicates().to_numpy()[0])

    once = [taus("methods_3d/msd04_hippocampus", share)[0] for share in (10, 100)]
    assert "(31 methods on hippocampi: {} and {})".format(*once) in MORE
    few, every = (taus("studies_hippocampus/msd04_hippocampus", share) for share in (5, 100))
    assert "tau is {} [{} to {}] with seven patients".format(*few) in MORE
    shares = [taus("studies_left_atrium/lasc", share)[0] for share in (5, 100)]
    assert "nothing is shown there ({} and {})".format(*shares) in MORE
    assert "and {} [{} to {}] with all".format(*every) in MORE


@pytest.mark.parametrize(
    ("study", "row", "says"),
    [
        (
            *("eight", "rotation3d"),
            "a Dice of {1} on the validation patients, and {0} at the full rate.",
        ),
        *(
            ("kinds", row, f"| {title} | {{0}} | {{1}} | {{2}} |")
            for title, row in KINDS.items()
            if row not in OF_LIGHT
        ),
    ],
)
def test_what_claim_1_says_of_rates_is_recorded(study, row, says):
    facts = json.loads((RECORDS / f"studies_{study}_hippocampus.json").read_text())
    assert says.format(*re.findall(r"([\d.]+) with loaded", facts["choices"][row])[:3]) in MORE


def test_what_claim_1_says_of_small_gains_is_in_the_reports():
    for study, row, says in (
        ("light", "rotation3d", "The gain of rotation is significant after correction (p {:.3f})"),
        ("kinds", "mae_cnn3d", "MAE has a small gain (p {:.3f} after correction"),
        ("kinds", "spark3d", "its gain is not significant after correction (p {:.3f})"),
    ):
        table = verdicts_of(f"studies_{study}_hippocampus")
        p = table[table["row"].eq(row) & table["section"].eq("each") & table["metric"].eq("dice")]
        assert says.format(p["p_holm"].item()) in MORE
    light, kinds = (verdicts_of(f"studies_{study}_hippocampus") for study in ("light", "kinds"))
    rows = pd.concat([light, kinds])
    rows = rows[rows["section"].eq("each") & rows["control"].eq(0) & rows["metric"].eq("dice")]
    adjusted = dict(zip(rows["row"], holm([*rows["p"], 1.0]), strict=False))
    ps = [adjusted.pop(row) for row in ("mae_cnn3d", "rotation3d")]
    assert len(adjusted) == 6 and min(adjusted.values()) > 0.05
    says = "MAE has p {:.3f}, and rotation, the only other one below 0.05, has {:.3f}."
    assert f"(nine rows, one has not run) {says.format(*ps)}" in MORE


def test_the_repeated_number_is_that_of_its_records():
    records = ROOT / "results" / "reproduced" / "records" / "sunnybrook_fcn.parquet"
    rows = pd.read_parquet(records)
    patients = rows.groupby("patient", observed=True)["value"].mean()
    runs = [f"{mean:.3f}" for mean in rows.groupby("seed")["value"].mean()]
    assert "Three training runs give {}, {} and {};".format(*runs) in MORE
    assert f"Dice {patients.mean():.3f} here" in SHORT
    assert f"{patients.mean():.3f} over {len(patients)} test patients" in MORE
    half = t.ppf(0.975, len(patients) - 1) * patients.sem()
    ends = f"{patients.mean() - half:.3f} to {patients.mean() + half:.3f}"
    assert f"(95 % interval of the mean {ends};" in MORE
    level = (
        f"the median patient has {patients.median():.3f}, one patient only {patients.min():.2f}."
    )
    assert level in MORE


def test_each_study_states_what_it_can_see():
    """A study's protocol has the numbers of the table, which `bench plan --detect 1` prints."""
    table = re.findall(
        r"^\| (\w+) \| \w+, (\d+) % \| \d+ \| \d+ \| \d+ \| ([\d.]+) \| ", STUDIES, re.MULTILINE
    )
    for study in {name for name, *_ in table}:
        sees = ", ".join(
            f"{points} points at {share} %" for name, share, points in table if name == study
        )
        stated = protocols.read(ROOT / "protocols" / "studies" / f"{study}.yaml").detects
        assert stated.startswith(f"{sees} of the labels"), study


def test_what_studies_planned_to_detect_stands_beside_what_they_detect():
    line = r"^\| `(\w+)` \| [\w ]+ \| (\d+) % \| ([\d.]+) \| ([\d.]+) \|$"
    table = re.findall(line, STUDIES, re.MULTILINE)
    registered = {file.stem for file in (ROOT / "results/studies/registered").iterdir()}
    assert {f"studies_{name}" for name, *_ in table} == registered - {"studies_probes_3d"}
    for name, share, planned, measured in table:
        page = (ROOT / "reports" / f"studies_{name}" / "table.md").read_text()
        before, after = re.search(r": planned (.*?); measured (.*)", page).groups()
        assert f"{planned} points" in before and f"{measured} points at {share} %" in after, name


@cache
def records_of(report, folder="studies"):
    return pd.read_parquet(ROOT / "results" / folder / "records" / f"{report}.parquet")


@cache
def verdicts_of(report):
    return pd.read_csv(ROOT / "reports" / report / "verdicts.csv")


def paired_means(report, row, other, where):
    """Return a row's patient means less another's where a finding stands, a column for each seed."""
    rows = records_of(report)
    at = rows["section"].eq(where["section"]) & rows["fraction"].eq(int(where["fraction"]))
    means = (
        rows[at & rows["metric"].eq("dice")]
        .groupby(["row", "patient", "seed"], observed=True)["value"]
        .mean()
    )
    return (means[row] - means[other]).unstack("seed")


def points(*shares):
    return [f"{100 * share:+.2f}".replace("-", "\N{MINUS SIGN}") for share in shares]
