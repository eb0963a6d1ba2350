"""Draw the figures of the pages of findings from the tracked reports: a difference, its interval, what could be seen.

`python tools/findings.py` writes docs/findings/CLAIM.svg; tests/results/test_findings.py compares their numbers
with the reports.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from operator import attrgetter, itemgetter
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
HIPPOCAMPI, ATRIA = "msd04_hippocampus", "lasc"
ROPE = 0.01  # of the verdicts in these reports
DICE, FROZEN = "Dice (points) against scratch", "Dice (points) against random encoders"
TAU = "Kendall's tau between the two orders"


@dataclass(frozen=True)
class Place:
    """Rows of a report at one section and share of the labels."""

    heading: str
    study: str
    section: str
    fraction: int
    rows: dict[str, str] = field(default_factory=dict)  # names in print; empty: all methods

    @property
    def report(self) -> str:
        """Return the folder of the study's report."""
        return f"studies_{self.study}"

    @property
    def probed(self) -> bool:
        """Return whether encoders were frozen."""
        return any(s.evaluation == "probe" for s in protocol(self.report).finetune)


SELF_SUPERVISED = {"voco": "VoCo", "rotation3d": "Rotation", "vox2vec": "vox2vec"}
KINDS = {
    "mae_cnn3d": "MAE on a CNN",
    "models_genesis": "Models Genesis",
    "spark3d": "SparK",
    "lejepa3d": "LeJEPA",
    "volume_fusion": "Volume Fusion",
    "ceiling": "encoder and decoder pretrained with labels",
}
LIGHT = SELF_SUPERVISED | {"ceiling": "encoder pretrained with labels"}
BY_SCAN = {
    "mae_cnn3d": "MAE on a CNN",
    "rotation3d": "Rotation",
    "dose 0.25": "a quarter of these weights, the rest random",
    "ceiling": "encoder and decoder pretrained with labels",
}
SLICES = {"rotation2d": "Rotation", "inpainting2d": "In-painting", "moco2d": "MoCo"}
CEILING = {"ceiling": "pretrained with labels"}
LOADED = SELF_SUPERVISED | CEILING | {"dose 0": "random weights"}
VOCO_PARTS = {
    "n8": "both losses, 8 bases",
    "pred": "prediction loss alone, 8 bases",
    "reg": "regularisation loss alone, 8 bases",
    "n4": "both losses, 4 bases",
    "n24": "both losses, 24 bases",
}
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
    "genesis_unet3d_light/tiny": "0.11 M weights",
    "genesis_unet3d_light/small": "0.44 M weights",
    "unetr/tiny": "UNETR",
    "hssl_resnet34/small": "small ResNet",
}
BEST = {
    "mae_cnn3d": "MAE on a CNN",
    "vox2vec": "vox2vec",
    "voco": "VoCo",
    "ceiling unet": "pretrained with labels",
}
LADDER = {
    "voco_w4_20": "VoCo, 20 scans",
    "voco_w4_70": "VoCo, 70 scans",
    "voco_w4": "VoCo, 139 scans",
    "voco_w8": "VoCo, 139 scans",
    "ceiling w4": "pretrained with labels",
    "ceiling w8": "pretrained with labels",
}
SHUFFLED = {"voco": "VoCo", "voco (shuffled)": "VoCo, its weights shuffled"}
WAYS = {"ranks": "same order"}
CLAIMS = {
    "fine_tuned": [
        Place("Hippocampi, 7 patients", "light_hippocampus", "each", 5, LIGHT),
        Place("Hippocampi, 7 patients", "kinds_hippocampus", "each", 5, KINDS),
        Place("Hippocampi, no test scan in training", "by_scan_hippocampus", "each", 5, BY_SCAN),
        Place("Slices of hearts, 11 patients", "eight_acdc", "acdc", 20, SLICES | CEILING),
    ],
    "frozen": [
        Place("Hippocampi, 7 patients", "probes_3d", HIPPOCAMPI, 5, BEST),
        Place("Left atria, 2 patients", "probes_3d", ATRIA, 5, BEST),
        *(
            Place(
                f"Slices of hearts ({heading} patients", "probes_2d", section, 20, SLICES | CEILING
            )
            for heading, section in (("ACDC), 10", "acdc"), ("Sunnybrook), 5", "own_sunnybrook"))
        ),
    ],
    "instrument": [
        Place(f"{name}, pretrained with labels", report, section, share, {"ceiling": way})
        for name, report, share in (
            ("Hippocampi, 7 patients", "positive_control", 5),
            ("Left atria, 8 patients", "positive_control_left_atrium", 20),
        )
        for section, way in (("alike", "one learning rate"), ("each", "each row's best settings"))
    ],
    "hippocampi": [Place("Hippocampi, 7 patients", "hippocampus", HIPPOCAMPI, 5)],
    "labels": [
        Place(f"Hippocampi, {n} patients", "hippocampus_curve", HIPPOCAMPI, share)
        for n, share in ((7, 5), (28, 20), (139, 100))
    ],
    "left_atria": [
        Place("Left atria, 2 patients, eight draws", "left_atrium_few", ATRIA, 5, SHUFFLED)
    ],
    "slices": [Place("Slices of left atria, 2 patients", "slices_left_atrium", ATRIA, 5)],
    "hospital": [
        Place(heading, "eight_acdc", section, 20, SLICES | CONTROLS)
        for heading, section in (
            ("ACDC, 11 patients", "acdc"),
            ("The same weights on Sunnybrook", "acdc on own_sunnybrook"),
            ("ACDC, fine-tuned with kept norm statistics", "kept"),
        )
    ],
    "parts": [Place("VoCo on hippocampi, 7 patients", "ablations_voco", HIPPOCAMPI, 5, VOCO_PARTS)],
    "frozen_and_fine_tuned": [
        Place("Frozen encoders", "probes_hippocampus", HIPPOCAMPI, 5, LOADED),
        Place("Light decoder, each row chooses its rates", "light_hippocampus", "each", 5, LOADED),
        Place("Usual decoder, each row chooses its rates", "eight_hippocampus", "each", 5, LOADED),
        Place("Usual decoder, low rate and late start", "eight_hippocampus", "low_rate", 5, LOADED),
    ],
    "scans": [
        Place(f"Hippocampi, {n} patients", "ladder_hippocampus", HIPPOCAMPI, share, LADDER)
        for n, share in ((7, 5), (139, 100))
    ],
}


def lines(panel: Iterable[Place]) -> Iterator[Interval]:
    """Return the rows of a panel as lines of a forest plot: methods first, the largest difference first.

    Rows of another network, with another scratch, have a heading of their own.
    """
    rows = [(v, place) for place in panel for v in verdicts(place.report) if shown(v, place)]
    order = itemgetter("baseline", "control")
    rows.sort(key=lambda row: (*order(row[0]), -float(row[0]["difference"])))
    networks = len({verdict["baseline"] for verdict, _ in rows})
    for verdict, place in rows:
        row = verdict["row"]
        numbers = {
            key: float(verdict[key] or "nan") for key in ("difference", "low", "high", "detectable")
        }
        name = place.rows.get(row) or title(place.report, row)
        of: Any = SimpleNamespace(**numbers)
        group = heading(place, verdict["baseline"], network=networks > 1)
        drawn = line_of((name, group), (verdict["verdict"],) * 2, of, "1", ROPE)
        yield replace(drawn, axis=FROZEN if place.probed else DICE)


def shown(verdict: dict[str, str], place: Place) -> bool:
    """Return whether a verdict is a line of a place."""
    at = (verdict["section"], int(verdict["fraction"]), verdict["metric"])
    wanted = verdict["row"] in place.rows or (not place.rows and verdict["control"] == "0")
    return wanted and at == (place.section, place.fraction, "dice")


def heading(panel: Place, baseline: str, *, network: bool) -> str:
    """Return the heading of a panel, with the mean Dice of what its rows are compared with, and its network."""
    at = (baseline, panel.section, str(panel.fraction), "mean", "dice")
    with (ROOT / "reports" / panel.report / "table.csv").open(newline="") as file:
        (mean,) = (
            float(cell["mean"])
            for cell in csv.DictReader(file)
            if tuple(cell[key] for key in ("row", "section", "fraction", "target", "metric")) == at
        )
    of = "random encoders" if panel.probed else "scratch"
    plan = protocol(panel.report)
    named = plan.networks[plan.rows[baseline].network]
    more = f", {SHORT[f'{named.network}/{named.preset}']}" if network else ""
    return f"{panel.heading}{more} ({of}: Dice {100 * mean:.1f} %)"


@cache
def protocol(report: str) -> Protocol:
    """Return the protocol of a study's report."""
    file = ROOT / "protocols" / "studies" / f"{report.removeprefix('studies_')}.yaml"
    return read(file, "pilot", drawn=True)


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
        yield Interval(place, heading, *numbers, "", *words, axis=TAU)


def verdicts(report: str) -> list[dict[str, str]]:
    """Return the verdicts of a tracked report."""
    with (ROOT / "reports" / report / "verdicts.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def claims() -> dict[str, list[Interval]]:
    """Return each claim's lines."""
    drawn = {}
    for name, places in CLAIMS.items():
        panels = groupby(places, attrgetter("heading"))
        drawn[name] = [line for _, panel in panels for line in lines(panel)]
    return drawn | {"ranks": [*agreements()]}


def zero(axis: str) -> str:
    """Return what zero is on an axis, as the legend says it; "" for scratch."""
    return "zero" if "random encoders" in axis else ""


def main() -> None:
    """Draw the figures."""
    FOLDER.mkdir(exist_ok=True)
    for name, rows in claims().items():
        axis = rows[-1].axis
        with TemporaryDirectory() as folder:
            png, pdf, svg = (Path(folder, f"{name}.{kind}") for kind in ("png", "pdf", "svg"))
            figure = forest(rows, axis, against=zero(axis), way=WAYS.get(name, "better"))
            save(figure, (png, pdf, svg), axis)
            write_atomic(FOLDER / svg.name, svg.read_text(encoding="utf-8"), flush=False)
        print(f"docs/findings/{name}.svg: {len(rows)} rows")


if __name__ == "__main__":
    main()
