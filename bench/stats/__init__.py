"""What may be claimed of scores: paired differences, families of them, ranks. Arrays in, numbers out."""

from bench.stats.comparison import VERDICTS as VERDICTS
from bench.stats.comparison import Comparison as Comparison
from bench.stats.comparison import alone as alone
from bench.stats.comparison import compared as compared
from bench.stats.comparison import paired as paired
from bench.stats.equivalence import Region as Region
from bench.stats.equivalence import region as region
from bench.stats.holm import Judged as Judged
from bench.stats.holm import judged as judged
from bench.stats.resampling import bootstrap as bootstrap
from bench.stats.resampling import sign_flip as sign_flip
from bench.stats.resampling import smallest_p as smallest_p
