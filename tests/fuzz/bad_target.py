"""A target that misbehaves at its third execution, so that the engine can be seen to notice."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import time
import warnings
from pathlib import Path

from target import Target


class Bad(Target):
    """``BENCH_FUZZ_BAD`` says how."""

    name, slow = "bad", 0

    def __init__(self, folder: Path) -> None:
        pass

    def once(self, rng: random.Random) -> None:
        state = rng.getstate()
        if state != random.Random("bad:0:2").getstate():
            return
        how = os.environ["BENCH_FUZZ_BAD"]
        if how == "crash":
            faulthandler.disable()  # pytest's, which would print its stack
            os.kill(os.getpid(), signal.SIGSEGV)
        elif how == "hang":
            time.sleep(60)
        elif how == "slow":
            began = time.process_time()
            while time.process_time() - began < 1.2:
                pass
        elif how == "memory":
            bytearray(3 << 30)
        elif how == "warn":
            warnings.warn("x", stacklevel=1)
        else:
            raise KeyError("x")
