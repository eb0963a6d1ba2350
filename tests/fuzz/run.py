"""What bounds a process that reads damaged input, which Hypothesis draws and makes small.

An execution may succeed or raise ``BenchError``; another exception, a warning, more processor time than the
target allows, memory above the limit, a hang or a crash end the process. Equal seeds draw equally.
"""

import faulthandler
import importlib
import os
import resource
import time
import warnings
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

HANG = (
    20.0  # seconds of wall time after which an execution ends its process; the machine may be busy
)
MEMORY = 1536 << 20  # address space above what the imports took
FLOOD = 512 << 20  # memory above what the imports took that all executions together may come to use
ROUND = 2_000  # executions after which Hypothesis begins anew: it remembers all that it drew


def child(module, kind, folder, count, seed, hang=HANG):
    """Be a process that executes one target; its files stay as a crash or a hang found them."""
    faulthandler.enable()
    os.environ.update({"OMP_NUM_THREADS": "1", "BENCH_DATA": ""})
    os.chdir(folder)
    made = getattr(importlib.import_module(module), kind)(folder)
    _executed(made, 2, "warm", 60.0, hang)  # lazy imports are no execution's memory or time
    _bound()
    base, began = _peak(), time.monotonic()
    for first in range(0, count, ROUND):
        _executed(made, min(ROUND, count - first), f"{seed}:{first}", made.seconds, hang)
    print(
        f"{kind}: {time.monotonic() - began:.0f} s, {base >> 20} MB before, {_peak() >> 20} at the peak"
    )
    assert _peak() - base < FLOOD, "too much memory for all executions together"


def _executed(made, count, seed, seconds, hang):
    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def read_damaged(data):
        faulthandler.dump_traceback_later(hang, exit=True)
        began = time.process_time()
        try:
            made.once(data.draw)
        finally:
            faulthandler.cancel_dump_traceback_later()
        took = time.process_time() - began
        assert took < seconds, f"slow: {took:.2f} s of processor time"

    read_damaged()


def _bound():
    """Bound the address space from here on; a warning is an error."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=ResourceWarning)


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
