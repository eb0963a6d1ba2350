"""What may be claimed of scores: paired differences, families of them, ranks. Arrays in, numbers out."""

from bench.stats.comparison import VERDICTS, Comparison, alone, compared, paired
from bench.stats.equivalence import Region, region
from bench.stats.holm import Judged, judged
from bench.stats.resampling import bootstrap, sign_flip, smallest_p

__all__ = [
    "VERDICTS",
    "Comparison",
    "Judged",
    "Region",
    "alone",
    "bootstrap",
    "compared",
    "judged",
    "paired",
    "region",
    "sign_flip",
    "smallest_p",
]
