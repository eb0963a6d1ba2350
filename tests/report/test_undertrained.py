"""Scratch against its anchor: what passes, what is judged at all, and where it is said."""

from dataclasses import replace

import pandas as pd
import pytest

from bench.protocol import Finetune, Row
from bench.protocol.comparable import way
from bench.protocol.sections import Anchor
from bench.report import undertrained
from bench.report import write as report
from bench.report.supplement import DatasetInfo, Extras

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


NOTHING = {"value": 0.0, "status": "empty_prediction"}


@pytest.mark.parametrize(
    ("rows", "scale", "warns"),
    [
        ([{**row, **NOTHING} for row in ORGANS], "pilot", True),
        ([{**row, **NOTHING} for row in ORGANS], "smoke", False),
        ([{**ORGANS[0], **NOTHING}, ORGANS[1]], "pilot", False),  # one of two targets
        ([{**row, "value": 0.0} for row in ORGANS], "pilot", False),  # predicted beside the organ
    ],
)
def test_scratch_that_segments_nothing_is_named_without_an_anchor(
    protocol, records, tmp_path, rows, scale, warns
):
    section = Finetune(dataset="organs", split="even", steps=10, fractions=(10, 100))
    table = records(*({"fraction": 100, "scale": scale, **row} for row in rows))
    info = DatasetInfo("organs", "Organs", ("liver", "spleen"), synthetic=True)
    read = protocol(finetune=(section,), scale=scale)
    extras = Extras(datasets=(info,))
    text = report.write(read, table, tmp_path, extras, figures=False).markdown.read_text()
    assert (f"Organs: {undertrained.EMPTY}: A." in text) is warns
    assert (undertrained.UNDERTRAINED in text) is warns


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
