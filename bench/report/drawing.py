"""The drawing itself. Figure objects only, no global state; the same input gives the same bytes."""

from bench.report.bars import bars as bars
from bench.report.bars import dots as dots
from bench.report.canvas import save as save
from bench.report.doses import doses as doses
from bench.report.forest import forest as forest
from bench.report.forest import spots as spots
from bench.report.lines import plots as plots
from bench.report.losses import curves as curves
from bench.report.losses import pretexts as pretexts
from bench.report.losses import probes as probes
from bench.report.losses import training as training
from bench.report.masks import panels as panels
from bench.report.scatters import clouds as clouds
