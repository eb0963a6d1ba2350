"""The drawing itself. Figure objects only, no global state; the same input gives the same bytes."""

from bench.report.bars import bars, dots
from bench.report.canvas import save
from bench.report.doses import doses
from bench.report.forest import forest, spots
from bench.report.lines import plots
from bench.report.losses import curves, pretexts, probes, training
from bench.report.masks import panels
from bench.report.scatters import clouds

__all__ = [
    "bars",
    "clouds",
    "curves",
    "doses",
    "dots",
    "forest",
    "panels",
    "plots",
    "pretexts",
    "probes",
    "save",
    "spots",
    "training",
]
