"""What is one for a whole process and changes numbers: torch's switches, and the global generators."""

from __future__ import annotations

import random
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import torch

from bench import distributed
from bench.jobs.context import Cuda

# of float32 products; none: as the wider one says
Precision = Literal["none", "ieee", "tf32", "bf16"]
DEVICES = ("cpu", "cuda")
USUAL = Cuda()
# Where torch keeps a switch that is an attribute, the wider before the narrower: setting one resets others.
PLACES = {
    "precision": "backends.fp32_precision",
    "cudnn_precision": "backends.cudnn.fp32_precision",
    "cudnn_conv": "backends.cudnn.conv.fp32_precision",
    "cudnn_rnn": "backends.cudnn.rnn.fp32_precision",
    "cuda_matmul": "backends.cuda.matmul.fp32_precision",
    "onednn_precision": "backends.mkldnn.fp32_precision",
    "onednn_conv": "backends.mkldnn.conv.fp32_precision",
    "onednn_rnn": "backends.mkldnn.rnn.fp32_precision",
    "onednn_matmul": "backends.mkldnn.matmul.fp32_precision",
    "cudnn": "backends.cudnn.enabled",
    "cudnn_benchmark": "backends.cudnn.benchmark",
    "cudnn_deterministic": "backends.cudnn.deterministic",
    "onednn": "backends.mkldnn.enabled",
    "onednn_deterministic": "backends.mkldnn.deterministic",
}


@dataclass(frozen=True)
class Switches:
    """Torch's switches, by default as torch has them when it is imported; every job begins with these."""

    threads: int = 1
    dtype: str = "float32"  # of tensors that name none
    device: str = "cpu"  # likewise
    gradients: bool = True
    anomalies: bool = False  # looked for in gradients
    autocast: bool = False
    deterministic: bool = False
    precision: Precision = "none"
    cudnn_precision: Precision = "none"
    cudnn_conv: Precision = "tf32"
    cudnn_rnn: Precision = "tf32"
    cuda_matmul: Precision = "none"
    onednn_precision: Precision = "none"
    onednn_conv: Precision = "none"
    onednn_rnn: Precision = "none"
    onednn_matmul: Precision = "none"
    cudnn: bool = True
    cudnn_benchmark: bool = False
    cudnn_deterministic: bool = False
    onednn: bool = True
    onednn_deterministic: bool = False
    flash: bool = True  # attention by these kernels
    efficient: bool = True
    plain: bool = True

    @classmethod
    def of(cls, threads: int, cuda: Cuda) -> Switches:
        """Return the switches of a job with so many threads."""
        convolutions: Precision = "ieee" if cuda.tf32 == "off" else "tf32"
        return cls(
            threads,
            cudnn_conv=convolutions,
            cudnn_rnn=convolutions,
            cuda_matmul="tf32" if cuda.tf32 == "all" else "none",
            cudnn_benchmark=cuda.benchmark,
            cudnn_deterministic=cuda.deterministic,
        )

    @classmethod
    def now(cls) -> Switches:
        """Return the switches as they are."""
        values: dict[str, Any] = {
            name: attrgetter(attribute)(torch) for name, attribute in PLACES.items()
        }
        kernels = torch.backends.cuda
        return cls(
            threads=torch.get_num_threads(),
            dtype=str(torch.get_default_dtype()).removeprefix("torch."),
            device=str(torch.get_default_device()),
            gradients=torch.is_grad_enabled(),
            anomalies=torch.is_anomaly_enabled(),
            autocast=any(map(torch.is_autocast_enabled, DEVICES)),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            flash=kernels.flash_sdp_enabled(),
            efficient=kernels.mem_efficient_sdp_enabled(),
            plain=kernels.math_sdp_enabled(),
            **values,
        )

    def set(self) -> None:
        """Set all of them, and what has no switch: small numbers are kept, NumPy warns as it does."""
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        torch.set_default_dtype(getattr(torch, self.dtype))
        if str(torch.get_default_device()) != self.device:
            torch.set_default_device(None if self.device == "cpu" else self.device)
        torch.set_grad_enabled(self.gradients)
        torch.autograd.set_detect_anomaly(self.anomalies)
        for device in DEVICES:
            torch.set_autocast_enabled(device, self.autocast)
        torch.use_deterministic_algorithms(self.deterministic)
        torch.set_flush_denormal(False)
        torch.backends.cuda.enable_flash_sdp(self.flash)
        torch.backends.cuda.enable_mem_efficient_sdp(self.efficient)
        torch.backends.cuda.enable_math_sdp(self.plain)
        torch.set_float32_matmul_precision("highest")  # the older names of the precisions below
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
        for name, path in PLACES.items():
            owner, _, attribute = path.rpartition(".")
            setattr(attrgetter(owner)(torch), attribute, getattr(self, name))
        np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")


def begin(threads: int, cuda: Cuda = USUAL) -> None:
    """Begin a job as in a fresh process: switches as by default, global generators at one seed.

    Nothing of bench draws from these generators without a seed of its own; a method from outside may.

    Args:
        threads: of the job.
        cuda: what a person states of cards; without that the switches are torch's own.
    """
    if torch.cuda.is_available():  # before anything asks which: its peak would be another's
        torch.cuda.set_device(distributed.local_device())
    Switches.of(threads, cuda).set()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
