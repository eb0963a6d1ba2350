"""Scratch against its anchor: what passes, what is judged at all, and where it is said."""

import csv
from dataclasses import replace

import pandas as pd
import pytest

from bench.protocol import Finetune, Layout, Row, View
from bench.protocol.comparable import way
from bench.protocol.sections import Anchor
from bench.report import undertrained
from bench.report import write as report
from bench.report.supplement import DatasetInfo, Extras
from bench.report.tables import tables

ANCHOR = Anchor(mean=0.86, each=0.84)
COLUMNS = ["dataset", "family", "fraction", "target", "metric", "value", "source"]
PRINTED = [
    ("organs", "unet", "100", "mean", "dice", "0.90", "Doe 2020"),
    ("organs", "vit", "100", "mean", "dice", "0.7", "Roe"),
]
FIELD = pd.DataFrame(PRINTED, columns=COLUMNS)


@pytest.fixture
def drawn(protocol, records, tmp_path):
    """Return a function from the scores of two targets to the three written forms."""

    def draw(liver, spleen, fraction=100, anchor=ANCHOR, synthetic=False, **changes):
        section = Finetune(
            dataset="organs", split="even", steps=10, anchor=anchor, fractions=(fraction,)
        )
        given = {"fraction": fraction, "scale": changes.get("scale", "pilot")}
        both = {"liver": liver, "spleen": spleen}
        table = records(*({"target": t, "value": v, **given} for t, v in both.items()))
        info = DatasetInfo("organs", "Organs", ("liver", "spleen"), synthetic=synthetic)
        extras = Extras(datasets=(info,), reference=FIELD)
        paths = report.write(
            protocol(finetune=(section,), **changes), table, tmp_path, extras, figures=False
        )
        return paths.markdown.read_text(), paths.page.read_text(), paths.text

    return draw


@pytest.mark.parametrize(
    ("liver", "spleen", "passes"),
    [
        (0.88, 0.84, True),  # exactly 0.86 and 0.84
        (0.90, 0.80, False),  # one target below its floor
        (0.85, 0.85, False),  # the mean below its own
    ],
)
def test_scratch_reaches_its_anchor_in_the_mean_and_in_its_worst_target(
    drawn, liver, spleen, passes
):
    markdown, page, terminal = drawn(liver, spleen)
    assert ("reached." in markdown, "missed." in markdown) == (passes, not passes)
    for text in (markdown, page, terminal):
        assert (undertrained.UNDERTRAINED in text) is not passes
    assert "Scores from elsewhere: 70.00 (Roe), 90.00 (Doe 2020)" in markdown


def test_the_worst_target_and_its_score_are_named(drawn):
    markdown, page, _ = drawn(0.90, 0.80)
    expected = "A: Dice 85.00, worst target (spleen) 80.00. The required score is missed."
    assert expected in markdown and expected in page and 'class="below"' in page
    assert (
        "with all labels, scratch must reach Dice 86.00 as the mean over targets, and 84.00 for each target"
        in markdown
    )
    assert (
        "Organs: scratch with all labels does not reach 86.00 (each target 84.00): A 85.00 (worst target spleen 80.00)."
        in markdown
    )


PRETRAINED = {"rows": {"a": Row("voco", "net", title="A")}}


@pytest.mark.parametrize(
    "changes", [{"fraction": 5}, {"scale": "smoke"}, {"synthetic": True}, PRETRAINED]
)
def test_only_scratch_with_all_labels_of_real_scans_is_judged(drawn, changes):
    markdown, page, terminal = drawn(0.1, 0.1, **changes)
    assert not any(undertrained.UNDERTRAINED in text for text in (markdown, page, terminal))
    assert "reached." not in markdown


TWO = (
    Finetune(dataset="organs", split="even", steps=10, anchor=ANCHOR, fractions=(100,)),
    Finetune(dataset="heart", split="even", steps=10, anchor=Anchor(mean=0.9), fractions=(100,)),
)


@pytest.fixture
def two(protocol, records, tmp_path):
    """Return a function from rows of two sections to the markdown."""

    def draw(*rows, sections=TWO, **infos):
        given = {"organs": ("liver", "spleen"), "heart": ("atrium",)}
        info = tuple(
            DatasetInfo(n, n.title(), t, synthetic=infos.get(n, False)) for n, t in given.items()
        )
        table = records(
            *({"fraction": 100, "scale": "pilot", "section": r["dataset"], **r} for r in rows)
        )
        anchored = protocol(finetune=sections)
        return report.write(
            anchored, table, tmp_path, Extras(datasets=info), figures=False
        ).markdown.read_text()

    return draw


ORGANS = [{"dataset": "organs", "target": t, "value": 0.9} for t in ("liver", "spleen")]
LOW = [{**row, "value": 0.1} for row in ORGANS]
HEART = {"dataset": "heart", "target": "atrium", "value": 0.5}


def test_every_section_is_judged_by_itself_and_named(two):
    text = two(*ORGANS, HEART)
    assert (
        "Organs: A: Dice 90.00, worst target (liver) 90.00. The required score is reached." in text
    )
    assert (
        "Heart: A: Dice 50.00. The required score is missed." in text
        and "Heart: scratch with all labels does not reach 90.00: A" in text
    )
    text = two(*ORGANS, HEART, sections=(TWO[0], replace(TWO[1], anchor=None)))
    assert (
        "Heart: no score (anchor) is set that scratch must reach" in text
        and "Organs: A: Dice 90.00" in text
    )


def test_synthetic_scans_beside_real_ones_do_not_hide_them(two):
    text = two(*LOW, HEART, heart=True)
    assert "Organs: scratch with all labels does not" in text and "Heart: scratch" not in text


def both(liver, spleen=None, **columns):
    """Return a score of the liver and one of the spleen, by default the same."""
    values = {"liver": liver, "spleen": liver if spleen is None else spleen}
    return [{"target": target, "value": value, **columns} for target, value in values.items()]


def pooled(metric, value, task="classification"):
    """Return one score over all test cases."""
    unit = "value" if metric == "mae" else "1"
    return [
        {"target": "all", "metric": metric, "value": value, "unit": unit, "task": task, "case": ""}
    ]


NAN, HD95 = float("nan"), {"metric": "hd95", "unit": "mm"}
BLANK, ABSENT, NEITHER = (
    {"status": status} for status in ("empty_prediction", "empty_reference", "both_empty")
)
BRATS, CLASSES, VALUES = {"empty": "brats"}, {"task": "classification"}, {"task": "regression"}
OTHER = {"case": "c2"}
EMPTY, NOUGHT = "every prediction is empty", "Dice 0.00; predicting nothing gets 0.00"
# scores of the row from scratch, the data set, the best score of one prediction for all: what is said
LEARNED = {
    "all empty": (both(0.0, **BLANK), {}, None, EMPTY),
    "some empty": ([*both(0.0), *both(0.0, **OTHER, **BLANK)], {}, None, NOUGHT),
    "a hair": (both(0.004), {}, None, "Dice 0.40; predicting nothing gets 0.00"),
    "more than a hair": (both(0.006), {}, None, ""),
    "one of two targets": (both(0.0, 0.9), {}, None, ""),
    "a distance first": ([*both(9.0, **HD95), *both(0.0)], {}, None, NOUGHT),
    "a distance alone": (both(9.0, **HD95, **BLANK), {}, None, EMPTY),
    "a distance of some": (
        [*both(9.0, **HD95, **BLANK), *both(2.0, **HD95, **OTHER)],
        {},
        None,
        "",
    ),
    "skipped": (both(NAN, **BLANK), {"empty": "skip"}, None, EMPTY),
    "nothing to find": (both(NAN, **NEITHER), {}, None, ""),
    "brats": (
        [*both(1.0, **NEITHER), *both(0.001, **OTHER)],
        BRATS,
        None,
        "Dice 50.05; predicting nothing gets 50.00",
    ),
    "brats, found": ([*both(1.0, **NEITHER), *both(0.1, **OTHER)], BRATS, None, ""),
    "brats, found too much": (
        [*both(0.0, **ABSENT), *both(0.3, **OTHER)],
        BRATS,
        None,
        "Dice 15.00; predicting nothing gets 50.00",
    ),
    "one label": (
        both(0.03),
        {},
        0.0667,
        "Dice 3.00; predicting one label in every voxel gets 6.67",
    ),
    "auc": (pooled("auc", 0.504), CLASSES, None, "AUC 50.40; predicting the same for every case"),
    "auc, learned": (pooled("auc", 0.6), CLASSES, None, ""),
    "qwk": (pooled("qwk", 0.0), CLASSES, None, "QWK 0.00; predicting the same for every case"),
    "accuracy, unknown": (pooled("accuracy", 0.6), CLASSES, None, ""),
    "accuracy": (pooled("accuracy", 0.6), CLASSES, 0.6, "Accuracy 60.00; predicting the same"),
    "accuracy, learned": (pooled("accuracy", 0.7), CLASSES, 0.6, ""),
    "r2": (pooled("r2", 0.0, "regression"), VALUES, None, "R2 0.00"),
    "mae": (pooled("mae", 4.0, "regression"), VALUES, 4.0, "MAE 4.00; predicting the same"),
    "mae, learned": (pooled("mae", 3.9, "regression"), VALUES, 4.0, ""),
}


@pytest.mark.parametrize(("rows", "facts", "level", "why"), LEARNED.values(), ids=LEARNED)
def test_scratch_that_has_not_learned_the_task_is_called_so(
    protocol, records, tmp_path, rows, facts, level, why
):
    info = DatasetInfo("organs", "Organs", synthetic=True, **facts)
    chance = {"organs": {rows[0].get("metric", "dice"): level}} if level else {}
    table = records(*({"scale": "smoke", **row} for row in rows))
    extras = Extras(datasets=(info,), chance=chance)
    paths = report.write(protocol(scale="smoke"), table, tmp_path, extras, figures=False)
    said = f"A has not learned the task: Organs, 100 % of the labels ({why}"
    for text in (paths.markdown.read_text(), paths.page.read_text(), paths.tex.read_text()):
        assert (said.replace("%", "\\%" if text.startswith("% ") else "%") in text) is bool(why)
        assert (undertrained.UNDERTRAINED in text) is ("not learned" in text) is bool(why)
    assert (said in paths.text) is bool(why)


def test_nothing_is_compared_with_what_has_not_learned_the_task(protocol, records, tmp_path):
    """With 5 % of the labels rows A and D find nothing; with 100 % all rows do."""
    dice = {"a": (0.0, 0.5), "b": (0.156, 0.6), "c": (0.1, 0.4), "d": (0.0, 0.45)}
    table = records(
        *(
            {"row": row, "fraction": share, "target": target, "case": f"c{case}"}
            | {"metric": metric, "unit": unit, "value": value + case / 1000 * (value > 0)}
            for row, scores in dice.items()
            for share, score in zip((5, 100), scores, strict=True)
            for metric, unit, value in (("dice", "1", score), ("hd95", "mm", 9.0 - bool(score)))
            for target in ("liver", "spleen")
            for case in range(6)
        )
    )
    methods = {name: Row("voco", "net", title=name.upper()) for name in "bcd"}
    declared = protocol(
        rows={"a": Row("scratch", "net", title="A"), **methods},
        finetune=(replace(TWO[0], anchor=None, fractions=(5, 100)),),
        layout=Layout(
            views=(View(lines=("row",), columns=("metric", "fraction"), gain="baseline"),)
        ),
    )
    extras = Extras(datasets=(DatasetInfo("organs", "Organs"),))
    paths = report.write(declared, table, tmp_path, extras, figures=False)
    files = (paths.markdown, paths.page, paths.tex, tmp_path / "verdicts.csv")
    texts = [paths.text, *(file.read_text() for file in files)]
    assert all("has not learned the task" in text for text in texts)
    assert "+10.00" in texts[1] and not any("+15.85" in text for text in texts)
    (shown,), _ = tables(report.context_of(declared, table, extras))
    marks = {line.row: [cell.mark for cell in line.entries] for line in shown.lines}
    assert marks == {
        "a": ["", "second", "", "best"],
        "b": ["best", "best", "best", "best"],
        "c": ["second", "", "best", "best"],
        "d": ["", "", "", "best"],
    }
    lines = {(x["row"], x["fraction"]): x for x in csv.DictReader(texts[-1].splitlines())}
    assert {*lines} == {(row, share) for row in "bcd" for share in ("5", "100")}
    for (_, share), line in lines.items():
        numbers = [line[name] for name in ("difference", "low", "high", "p", "verdict")]
        assert (numbers == [""] * 5) is (share == "5")
        assert ("scratch has not learned the task" in line["why"]) is (share == "5")


def test_a_failed_run_hides_nothing(two):
    failed = {
        "dataset": "organs",
        "seed": 1,
        "target": "",
        "metric": "",
        "value": None,
        "status": "failed",
    }
    assert "reach 86.00 (each target 84.00): A 10.00 (worst target liver 10.00)" in two(
        *LOW, failed, HEART
    )
    assert ", 1 failed run left out. The required score is missed." in two(*LOW, failed, HEART)
    assert "Organs: A is not judged, because there is no score with all labels." in two(
        failed, HEART
    )


@pytest.mark.parametrize(
    ("score", "changes", "expected"),
    [
        (0.9, {"anchor": replace(ANCHOR, family="vit")}, "Scores from elsewhere: 70.00 (Roe)."),
        (
            0.85999,
            {},
            "reach 86.00 (each target 84.00): A 85.999",
        ),  # told from its anchor, to which it rounds
        (0.1, {"anchor": None}, "No score (anchor) is set"),
    ],
)
def test_an_anchors_note_is_of_its_family_its_digits_and_its_absence(
    drawn, score, changes, expected
):
    assert expected in drawn(score, score, **changes)[0]
    assert "No score (anchor) is set" not in drawn(score, score, **{**changes, "scale": "paper"})[0]


def test_an_anchor_changes_no_comparison(protocol):
    anchored = protocol(finetune=TWO)
    plain = replace(anchored, finetune=(replace(TWO[0], anchor=None),))
    assert way(plain, 0, plain.rows["a"]) == way(anchored, 0, anchored.rows["a"])
