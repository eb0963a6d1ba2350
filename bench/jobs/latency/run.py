"""Latency: how long one network takes for one crop, on the device that runs this job."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from statistics import median

import torch

from bench import nets
from bench.errors import Stopped
from bench.jobs.context import Context
from bench.jobs.initial_weights import network_of
from bench.jobs.latency.spec import FILE, Latency, LatencySpec
from bench.store import write_atomic
from bench.train.loop import channels_last, fabric
from bench.typed import plain

WARM_UP, REPEATS = 10, 50


def run(context: Context[LatencySpec]) -> None:
    """Write the median, the quartiles and the device of 50 forward passes of one crop, in seconds.

    Batch 1, fp32, weights as initialised, after 10 passes that are not counted. PGL prints such a number
    (30 ms for 64 x 192 x 192) without saying how it was taken.
    """
    network = network_of(context.spec.network, context.spec.task)
    device, seconds = fabric("fp32").device, list[float]()
    for elapsed in islice(passes(network, device), WARM_UP + REPEATS):
        seconds.append(elapsed)
        context.progress(len(seconds), WARM_UP + REPEATS)
        if context.stopping():
            raise Stopped(
                f"stopped after pass {len(seconds)}; the next attempt starts from the beginning"
            )
    ranked = sorted(seconds[WARM_UP:])
    quartiles = ranked[REPEATS // 4], ranked[-REPEATS // 4]
    latency = Latency(median(ranked), *quartiles, REPEATS, _name(device))
    write_atomic(context.folder / FILE, json.dumps(plain(latency)))
    context.facts.update(plain(latency))


def passes(network: nets.Model, device: torch.device) -> Iterator[float]:
    """Yield the seconds of one forward pass after another of one crop, the device waited for."""
    ready = channels_last(network.to(device)).eval()
    image = torch.zeros(1, network.in_channels, *network.crop, device=device)
    while True:
        began = time.perf_counter()
        with torch.no_grad():
            ready(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        yield time.perf_counter() - began


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"
