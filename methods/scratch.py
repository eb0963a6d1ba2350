"""No pretraining: the network starts from its own random initialisation."""

from torch import Tensor

from bench.errors import BenchError
from bench.method import Batch, Method
from bench.source import Source


class Scratch(Method):
    """The baseline every other row is compared with; there is no pretext to train."""

    title = "From scratch"
    source = Source(
        "He et al., Rethinking ImageNet Pre-training, ICCV 2019", "https://arxiv.org/abs/1811.08883"
    )
    fidelity = "nothing to reproduce: the initial weights are the network's own"
    pretrains = False
    any_dims = True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Refuse: nothing is pretrained here."""
        raise BenchError("method 'scratch' has no pretext task; fine-tune from the initial weights")

    def transfer(self) -> dict[str, Tensor]:
        """Return nothing: fine-tuning keeps every weight it starts with."""
        return {}
