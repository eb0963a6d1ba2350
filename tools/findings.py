"""Draw the figures of docs/findings.md from the tracked reports: a difference, its interval, what could be seen.

`python tools/findings.py` writes docs/findings/CLAIM.svg, and of docs/findings_tables.md the table of every row;
tests/results/test_findings.py compares their numbers with the reports.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from bench import registry
from bench.protocol import read, row_of
from bench.protocol.model import Protocol
from bench.report.canvas import save
from bench.report.forest import forest
from bench.report.numbers import MINUS
from bench.report.plots import Interval, line_of
from bench.store import write_atomic

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "findings"
TABLES = FOLDER.with_name("findings_tables.md")
HIPPOCAMPI, ATRIA = "msd04_hippocampus", "lasc"
ROPE = 0.01  # of the verdicts in these reports
DICE, FROZEN = "Dice (points) against scratch", "Dice (points) against random encoders"


@dataclass(frozen=True)
class Place:
    """Rows of a report at one section and share of the labels."""

    heading: str
    report: str
    section: str
    fraction: int
    rows: dict[str, str] = field(default_factory=dict)  # names in print; empty: all methods
    baseline: tuple[str, ...] = ("scratch", "scratch_unetr")
    axis: str = ""  # where it is not that of the figure


SELF_SUPERVISED = {"voco": "VoCo", "rotation3d": "Rotation", "vox2vec": "vox2vec"}
SLICES = {"rotation2d": "Rotation", "inpainting2d": "In-painting", "moco2d": "MoCo"}
CEILING = {"ceiling": "pretrained with labels"}
RANDOM = {"dose 0": "random weights"}  # fine-tuned like loaded ones
CONTROLS = CEILING | {
    "dose 0.75": "75 % of these weights, 25 % random",
    "dose 0.5": "half of these weights, half random",
    "dose 0.25": "25 % of these weights, 75 % random",
}
SHORT = {
    "MSD Task04 Hippocampus": "Hippocampi",
    "LASC 2018 left atrium": "Left atria",
    "ACDC cardiac cine MR": "ACDC slices",
    "genesis_unet3d/tiny": "U-Net",
    "unetr/tiny": "UNETR",
    "hssl_resnet34/small": "small ResNet",
}
NAMES = {("studies_probes_2d", "supervised"): "Labels from intensity classes"}
BEST = {"mae_cnn3d": "MAE on a CNN", "vox2vec": "vox2vec", "voco": "VoCo"}
SCANS = {"_20": 20, "_70": 70, "": 139}  # row of the ladder: pretraining scans
WAYS = {"ranks": "same order"}
CLAIMS = {
    "instrument": (
        DICE,
        [
            Place(
                f"{name}, pretrained with labels",
                f"studies_{report}",
                section,
                share,
                {"ceiling": way},
            )
            for name, report, share in (
                ("Hippocampi, 7 patients", "positive_control", 5),
                ("Left atria, 8 patients", "positive_control_left_atrium", 20),
            )
            for section, way in (
                ("alike", "one learning rate"),
                ("each", "each row's best settings"),
            )
        ],
    ),
    "hippocampi": (DICE, [Place("Hippocampi, 7 patients", "studies_hippocampus", HIPPOCAMPI, 5)]),
    "labels": (
        DICE,
        [
            Place(f"Hippocampi, {n} patients", "studies_hippocampus_curve", HIPPOCAMPI, share)
            for n, share in ((7, 5), (28, 20), (139, 100))
        ],
    ),
    "left_atria": (
        DICE,
        [
            Place(
                "Left atria, 2 patients, eight draws",
                "studies_left_atrium_few",
                ATRIA,
                5,
                {"voco": "VoCo", "voco (shuffled)": "VoCo, its weights shuffled"},
            )
        ],
    ),
    "slices": (
        DICE,
        [Place("Slices of left atria, 2 patients", "studies_slices_left_atrium", ATRIA, 5)],
    ),
    "hospital": (
        DICE,
        [
            Place(heading, "studies_eight_acdc", section, 20, SLICES | CONTROLS)
            for heading, section in (
                ("ACDC, 11 patients", "acdc"),
                ("The same weights on Sunnybrook", "acdc on own_sunnybrook"),
                ("ACDC, fine-tuned with kept norm statistics", "kept"),
            )
        ],
    ),
    "parts": (
        DICE,
        [
            Place(
                "VoCo on hippocampi, 7 patients",
                "studies_ablations_voco",
                HIPPOCAMPI,
                5,
                {
                    "n8": "both losses, 8 bases",
                    "pred": "prediction loss alone, 8 bases",
                    "reg": "regularisation loss alone, 8 bases",
                    "n4": "both losses, 4 bases",
                    "n24": "both losses, 24 bases",
                },
            )
        ],
    ),
    "frozen_2d": (
        FROZEN,
        [
            Place("Slices of ACDC, 10 patients", "studies_probes_2d", "acdc", 20),
            Place("Slices of Sunnybrook, 5 patients", "studies_probes_2d", "own_sunnybrook", 20),
        ],
    ),
    "frozen_3d": (
        FROZEN,
        [
            Place(
                heading,
                "studies_probes_3d",
                section,
                5,
                BEST | {"ceiling unet": "pretrained with labels"},
                ("scratch_unet",),
            )
            for heading, section in (
                ("Hippocampi, 7 patients", HIPPOCAMPI),
                ("Left atria, 2 patients", ATRIA),
            )
        ],
    ),
    "frozen_and_fine_tuned": (
        DICE,
        [
            Place(
                "Frozen encoders",
                "studies_probes_hippocampus",
                HIPPOCAMPI,
                5,
                SELF_SUPERVISED | CEILING,
                axis=FROZEN,
            ),
            *(
                Place(
                    how,
                    f"studies_{report}_hippocampus",
                    section,
                    5,
                    SELF_SUPERVISED | CEILING | RANDOM,
                )
                for how, report, section in (
                    ("Light decoder, each row chooses its rates", "light", "each"),
                    ("Usual decoder, each row chooses its rates", "eight", "each"),
                    ("Usual decoder, low rate and late start", "eight", "low_rate"),
                )
            ),
        ],
    ),
    "scans": (
        FROZEN,
        [
            Place(
                f"Hippocampi, {patients} patients",
                "studies_ladder_hippocampus",
                HIPPOCAMPI,
                share,
                {f"voco_w4{row}": f"VoCo, {n} scans" for row, n in SCANS.items()}
                | {"ceiling w4": "pretrained with labels"},
                ("scratch_w4",),
            )
            for patients, share in ((7, 5), (139, 100))
        ],
    ),
}


def lines(place: Place) -> Iterator[Interval]:
    """Return the rows of a place as lines of a forest plot, the largest difference first."""
    ranked = sorted(verdicts(place.report), key=lambda v: (v["control"], -float(v["difference"])))
    for found in ranked:
        at = (found["section"], int(found["fraction"]), found["metric"])
        if at != (place.section, place.fraction, "dice") or found["baseline"] not in place.baseline:
            continue
        row = found["row"]
        if row in place.rows or (not place.rows and found["control"] == "0"):
            numbers = {
                key: float(found[key]) for key in ("difference", "low", "high", "detectable")
            }
            name = place.rows.get(row) or NAMES.get((place.report, row)) or title(place.report, row)
            of: Any = SimpleNamespace(**numbers)
            drawn = line_of((name, heading(place)), (found["verdict"],) * 2, of, "1", ROPE)
            yield replace(drawn, axis=place.axis)


def heading(panel: Place) -> str:
    """Return the heading of a panel, with the mean Dice of what its rows are compared with."""
    at = (panel.baseline[0], panel.section, str(panel.fraction), "mean", "dice")
    with (ROOT / "reports" / panel.report / "table.csv").open(newline="") as file:
        (mean,) = (
            float(cell["mean"])
            for cell in csv.DictReader(file)
            if tuple(cell[key] for key in ("row", "section", "fraction", "target", "metric")) == at
        )
    probed = any(s.evaluation == "probe" for s in protocol(panel.report).finetune)
    of = "random encoders" if probed else "scratch"
    return f"{panel.heading} ({of}: Dice {100 * mean:.1f} %)"


@cache
def protocol(report: str) -> Protocol:
    """Return the protocol of a study's report."""
    return read(
        ROOT / "protocols" / "studies" / f"{report.removeprefix('studies_')}.yaml",
        "pilot",
        drawn=True,
    )


def title(report: str, name: str) -> str:
    """Return the name in print of a row that has none here."""
    row, more = row_of(protocol(report), name)
    return name if row is None else (row.title or registry.load("method", row.method).title) + more


def agreements() -> Iterator[Interval]:
    """Return how far the order of methods by probe is that after fine-tuning: of each comparison, and the mean."""
    text = (ROOT / "reports" / "ranks" / "table.md").read_text(encoding="utf-8")
    table = re.findall(
        r"^\| (\w.*?) +\| +(\d*) \| +(\S+) \| +(\S+) to (\S+) \|$", text, re.MULTILINE
    )
    for name, methods, tau, low, high in table:
        place = re.sub(r" \(\w+\)$", "", name)
        for long, short in SHORT.items():
            place = place.replace(long, short)
        heading = "All comparisons"
        if methods:  # by the report that it comes from
            once = "(methods_" in name
            heading = f"Each method fine-tuned {'once' if once else 'three times'}"
        numbers = [float(value.replace(MINUS, "-")) for value in (tau, low, high)]
        words = (f"{tau}  [{low}, {high}]", f"{methods} methods" if methods else "")
        yield Interval(place, heading, numbers[0], numbers[1], numbers[2], "", *words)


def verdicts(report: str) -> list[dict[str, str]]:
    """Return the verdicts of a tracked report."""
    with (ROOT / "reports" / report / "verdicts.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def claims() -> dict[str, tuple[str, list[Interval]]]:
    """Return each claim's axis and lines."""
    drawn = {
        name: (axis, [line for place in places for line in lines(place)])
        for name, (axis, places) in CLAIMS.items()
    }
    return drawn | {"ranks": ("Kendall's tau between the two orders", [*agreements()])}


def zero(axis: str) -> str:
    """Return what zero is on an axis, as the legend says it; "" for scratch."""
    return "zero" if "random encoders" in axis else ""


def with_every_row(text: str) -> str:
    """Return docs/findings_tables.md with its table of every row against scratch written anew."""
    before, title, rest = text.partition("\n## Every row against scratch\n")
    head, rule, table = rest.partition("--:|\n")
    names = re.findall(r"^\| \[`(\w+)`\]", before, re.MULTILINE)  # the studies that have run
    reports = (f"studies_{name}" for name in names)
    written = [line for r in reports for line in every_row(r)]
    return "".join((before, title, head, rule, *written, table[table.index("\n\n") + 1 :]))


def every_row(report: str) -> Iterator[str]:
    """Yield the lines of a report: its sections and shares as there, methods before controls, the best first."""
    if not (ROOT / "reports" / report / "verdicts.csv").exists():
        return
    rows = [v for v in verdicts(report) if v["metric"] == "dice"]
    places = [*dict.fromkeys((v["section"], v["fraction"]) for v in rows)]
    control = re.compile(r"ceiling|dose |.*\)$")

    def at(v: dict[str, str]) -> tuple[int, bool, float]:
        place = places.index((v["section"], v["fraction"]))
        return place, bool(control.match(v["row"])), -float(v["difference"])

    for v in sorted(rows, key=at):
        points = [f"{100 * float(v[key]):+.2f}" for key in ("difference", "low", "high")]
        interval = "{} [{} to {}]".format(*points).replace("-", MINUS)
        where = f"`{report}` | `{v['row']}` | {v['section']}, {v['fraction']} %"
        yield f"| {where} | {interval} | {v['verdict']} | {100 * float(v['detectable']):.1f} |\n"


def main() -> None:
    """Draw the figures, and write the table."""
    write_atomic(TABLES, with_every_row(TABLES.read_text(encoding="utf-8")), flush=False)
    FOLDER.mkdir(exist_ok=True)
    for name, (axis, rows) in claims().items():
        with TemporaryDirectory() as folder:
            png, pdf, svg = (Path(folder, f"{name}.{kind}") for kind in ("png", "pdf", "svg"))
            figure = forest(rows, axis, against=zero(axis), way=WAYS.get(name, "better"))
            save(figure, (png, pdf, svg), axis)
            write_atomic(FOLDER / svg.name, svg.read_text(encoding="utf-8"), flush=False)
        print(f"docs/findings/{name}.svg: {len(rows)} rows")


if __name__ == "__main__":
    main()
