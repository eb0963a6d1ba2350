"""Latency: how long one network takes for one crop, on the device that runs this job."""

from __future__ import annotations

import json
import time
from statistics import median

import torch

from bench import nets
from bench.errors import Stopped
from bench.jobs.context import Context
from bench.jobs.timed import FILE
from bench.nets.network import triple
from bench.store import write_atomic
from bench.train.loop import channels_last, fabric

WARM_UP, REPEATS = 10, 50


@torch.no_grad()
def run(context: Context) -> None:
    """Write the median, the quartiles and the device of 50 forward passes of one crop, in seconds.

    Batch 1, fp32, weights as initialised, after 10 passes that are not counted; a GPU is waited for. PGL
    prints such a number (30 ms for 64 x 192 x 192) without saying how it was taken.
    """
    net = context.spec["network"]
    make = nets.classifier if context.spec["task"] == "classification" else nets.network
    network: torch.nn.Module = make(
        net["network"], net["preset"], net["in_channels"], net["out_channels"], triple(net["crop"])
    )
    device = fabric("fp32").device
    network = channels_last(network.to(device)).eval()
    image = torch.zeros(1, net["in_channels"], *net["crop"], device=device)
    seconds = []
    for number in range(WARM_UP + REPEATS):
        began = time.perf_counter()
        network(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
        context.progress(number + 1, WARM_UP + REPEATS)
        if context.stopping():
            raise Stopped(f"stopped after pass {number + 1}; the next attempt begins again")
    taken = sorted(seconds[WARM_UP:])
    found = {
        "median": median(taken), "low": taken[REPEATS // 4], "high": taken[-REPEATS // 4],
        "repeats": REPEATS, "device": _name(device),
    }  # fmt: skip
    write_atomic(context.made / FILE, json.dumps(found))
    context.facts.update(found)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"
