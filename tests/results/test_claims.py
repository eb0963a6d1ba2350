"""What the papers' texts say of their tables fails in the cells that ``errata.md`` lists and in no other."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise, product

import pytest
from transcripts import page, scores, transcript_of

INITS = ("Models Genesis", "BYOL")
TASKS = ("CPC", "RPL", "Jigsaw", "Rotation", "Exemplar")
ENTRANTS = ("Popli et al.", "Baid et al.", "Chandra et al.", "Isensee et al.")
SSL = ("ModelGen", "VicRegl", "Swin-UNETR", "JSSL", "GLSV", "MAE3D", "GL-MAE")
LOSSES = ("L_R^l", "L_R^g", "L_C^gg", "L_C^gl")
MEAN = ("mean", "only")  # ``only`` is the one target of a data set

Pairs = list[tuple[str, str]]


def each(tables: str, better: tuple[str, ...], worse: tuple[str, ...]) -> Pairs:
    """Return pairs of rows of one table each, over all tables named by their digits."""
    return [(f"table{t}: {a}", f"table{t}: {b}") for t in tables for a, b in product(better, worse)]


def added(first: int, last: int) -> Pairs:
    """Return GL-MAE's rows of Table 4 with one loss more beside those without, on both networks."""
    rows = [[f"table4: GL-MAE ({net}, + {loss})" for loss in LOSSES] for net in ("ViT-B", "ViT-T")]
    return [(row[last], row[first]) for row in rows]


def others(paper: str, tables: str, ours: str) -> Pairs:
    """Return a method's row beside every other one of its tables."""
    pairs = []
    for t in tables:
        frame = scores(paper)
        frame = frame[(frame["table"] == f"table{t}") & (frame["method"] != ours)]
        for method, note in frame[["method", "note"]].drop_duplicates().itertuples(index=False):
            pairs.append(
                (f"table{t}: {ours}", f"table{t}: {method}" + (f" ({note})" if note else ""))
            )
    return pairs


VOCO = [f"table7: VoCo (n={n})" for n in ("3x3x1", "4x4x1", "3x3x2", "4x4x2", "5x5x1")]
PARTS = ("without Lpred, without Lreg", "with Lpred, without Lreg", "with Lpred, with Lreg")
HSSL = ("img", "rec, img", "rec, img, task", "rec, img, task, group")

# the pairs of rows of which a sentence says that the first is better, and the targets of which it speaks
CLAIMS: dict[str, tuple[Pairs, tuple[str, ...]]] = {
    "pgl-1": (each("1234", ("PGL",), ("Random Init",)), ()),
    "pgl-2": (each("1234", ("PGL",), INITS), ()),
    "pgl-3": (
        [(f"table{a}: Random Init", f"table{b}: w/o F&CS") for a, b in ("15", "26", "37", "48")],
        MEAN,
    ),
    "pgl-4": (each("5678", ("w/o CS", "w/o F", "with F&CS"), ("w/o F&CS",)), MEAN),
    "pgl-5": (each("5678", ("w/o F",), ("w/o CS",)), MEAN),
    "pgl-6": (each("5678", ("with F&CS",), ("w/o CS", "w/o F")), ()),
    "hssl-1": (each("2", ("HSSL",), ("TFS",)), ()),
    "hssl-2": (each("2", ("HSSL",), ("Rotation", "In-painting", "MoCo", "SimCLR")), ()),
    "hssl-3": (each("3", ("HSSL",), ("UNet3+",)), ()),
    "hssl-4": ([(f"table4: HSSL ({b})", f"table4: HSSL ({a})") for a, b in pairwise(HSSL)], ()),
    "voco-1": (others("voco", "12345", "VoCo"), MEAN),
    "voco-2": ([(f"table6: VoCo ({b})", f"table6: VoCo ({a})") for a, b in pairwise(PARTS)], ()),
    "voco-3": ([(VOCO[1], VOCO[4])], ()),
    "voco-4": ([(VOCO[0], VOCO[2]), (VOCO[1], VOCO[3])], ()),
    "taleb-1": (
        [pair for t in TASKS for pair in each("1", (f"3D-{t}",), ("3D-From scratch", f"2D-{t}"))],
        (),
    ),
    "taleb-2": (each("1", ("3D-RPL",), ENTRANTS), ("ET", "TC")),
    "glmae-1": (each("1", SSL, ("UNETR",)), ()),
    "glmae-2": (others("glmae", "1", "GL-MAE"), ()),
    "glmae-3": (others("glmae", "3", "GL-MAE"), ()),
    "glmae-4": (added(0, 1), ()),
    "glmae-5": (added(1, 2), ()),
    "glmae-6": ([pair for i in range(3) for pair in added(i, 3)], ()),
}


def check(claim: str) -> tuple[int, list[list[str]]]:
    """Return of how many cells a sentence speaks, and those of which it is not so."""
    paper = claim.partition("-")[0]
    pairs, targets = CLAIMS[claim]
    spoken, failing = 0, []
    for better, worse in pairs:
        if better != worse:
            for r in transcript_of(paper, better, worse).itertuples():
                target = (
                    "only"
                    if r.dataset in ("msd09_spleen", "lits", "mmwhs", "cc_ccii")
                    else r.target
                )
                if targets and target not in targets and r.target not in targets:
                    continue
                spoken += 1
                first, second = Decimal(r.value), Decimal(r.other)
                if not (first < second if r.metric == "hd" else first > second):
                    where = [r.dataset, r.target, r.fraction, r.metric]
                    failing.append([claim, *where, better, r.value, worse, r.other])
    return spoken, failing


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_fails_in_the_listed_cells_and_no_other(claim: str):
    spoken, failing = check(claim)
    (listed,) = (
        [int(n) for n in line[2:4]] for line in page("errata.md", "Claims") if line[0] == claim
    )
    assert listed == [spoken, len(failing)]
    assert [line for line in page("errata.md", "Cells that fail") if line[0] == claim] == failing


def test_every_listed_claim_is_checked():
    assert [line[0] for line in page("errata.md", "Claims")] == list(CLAIMS)
    assert {line[0] for line in page("errata.md", "Cells that fail")} <= set(CLAIMS)
