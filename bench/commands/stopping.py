"""Ctrl-C, a closed terminal, a signal to end or of a batch system before a limit end a command alike."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from bench.process import STOPS

AGAIN = 0.5  # seconds after which a second Ctrl-C is one


@contextmanager
def stopping(*, saves: bool, shown: Callable[[str], bool] = lambda text: False) -> Iterator[None]:
    """Stop a run the same way on Ctrl-C, when it is terminated, or when its terminal is closed.

    Args:
        saves: jobs run here, which takes a while to save: say so at once, and leave at a second Ctrl-C.
        shown: shows a line among moving bars, which would write over it; False where there are none.
    """
    signalled: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not saves:
            raise KeyboardInterrupt
        if not signalled:
            signalled.append(time.monotonic())
            by_hand = number == signal.SIGINT
            text = f"saving (up to 30 s{'; again Ctrl-C leaves at once' if by_hand else ''})"
            text = text if by_hand else f"{signal.Signals(number).name}: {text}"
            if not shown(text):
                say(text)
            raise KeyboardInterrupt
        # `timeout` and a closed terminal send more than one signal for one wish
        if number == signal.SIGINT and time.monotonic() - signalled[0] > AGAIN:
            import multiprocessing

            for child in multiprocessing.active_children():
                child.kill()  # what is published is whole; the rest goes on from its last checkpoint
            say("left at once; the same command goes on from the last checkpoints")
            os._exit(130)

    usual = (signal.SIG_DFL, signal.default_int_handler)  # not under nohup
    # of one outside
    mine = {n for n in STOPS if getattr(signal.getsignal(n), "__module__", "") == __name__}
    before = {n: signal.signal(n, stop) for n in STOPS if n in mine or signal.getsignal(n) in usual}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Write a line to stderr from a signal's handler, which may have interrupted a ``print``."""
    shown = "\x1b[?25h" * sys.stderr.isatty()  # a progress bar hides the cursor
    with suppress(OSError):
        os.write(2, f"{shown}\nbench: {text}\n".encode())
