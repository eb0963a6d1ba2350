"""Watching an encoder changes nothing of its training."""

import copy

import pytest
import torch

from bench import nets
from bench.errors import BenchError
from bench.jobs.watch import LOOKS, SAMPLES, Watch, embedded


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return nets.network("hssl_resnet34", "tiny", 1, 2, (64, 64, 1)).encoder


def probe():
    return torch.randn(SAMPLES, 1, 64, 64, 1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("steps", "seen"), [(1, [0, 1]), (3, [0, 3]), (20, list(range(0, 21, 2))), (25, None)]
)
def test_looks_before_the_first_step_a_few_times_and_after_the_last(encoder, steps, seen):
    watch = Watch(encoder, probe, steps)
    for step in range(steps + 1):
        watch.at(step)
    found = [row["step"] for row in watch.rows]
    assert found == (seen or [*range(0, 25, 2), 25]) and len(found) <= LOOKS + 4


def test_changes_neither_weights_nor_statistics_nor_modes_nor_random_numbers(encoder):
    encoder.train()
    encoder.layer2.eval()
    state, modes = copy.deepcopy(encoder.state_dict()), [m.training for m in encoder.modules()]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Watch(encoder, probe, 1).at(0)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(state[k], v) for k, v in encoder.state_dict().items())
    assert [m.training for m in encoder.modules()] == modes


def test_embeddings_that_are_not_finite_are_an_error(encoder):
    with torch.no_grad():
        next(encoder.parameters()).fill_(torch.nan)
    with pytest.raises(BenchError, match="the encoder's embeddings are not finite"):
        embedded(encoder, probe())


def test_embeds_as_evaluation_does_whatever_the_size_of_a_part(encoder):
    images = probe()
    with torch.no_grad():
        whole = encoder.eval().embed(images)
    torch.testing.assert_close(embedded(encoder.train(), images), whole)


def test_reads_its_samples_once_and_resumes_from_its_state(encoder):
    read = []
    watch = Watch(encoder, lambda: read.append(1) or probe(), 10)
    watch.at(0)
    watch.at(1)
    again = Watch(encoder, probe, 10)
    again.load(watch.state())
    again.at(2)
    assert len(read) == 1 and [row["step"] for row in again.rows] == [0, 1, 2]


def test_says_what_collapsed(encoder):
    watch = Watch(encoder, probe, 1)
    assert watch.verdict() == ""
    watch.at(0)
    assert "COLLAPSED" not in watch.verdict()
    with torch.no_grad():
        encoder.layer4[-1].bn2.weight.zero_()
        encoder.layer4[-1].bn2.bias.fill_(100.0)
    watch.at(1)
    assert "COLLAPSED, the encoder gives all samples nearly the same embedding" in watch.verdict()


class Coded(torch.nn.Linear):
    """Stands in for an encoder whose embeddings are known: it gives each sample its row."""

    def __init__(self, rows):
        super().__init__(1, 1)
        self.rows = rows

    def embed(self, images):
        return self.rows[images.flatten(1)[:, 0].long()]


def test_says_that_samples_differ_along_one_direction_alone():
    """Two data sets told apart and nothing else: as wide as ever, and an effective rank of more than one."""
    g = torch.Generator().manual_seed(0)
    rows = torch.eye(16)[torch.arange(SAMPLES) % 2] + 0.05 * torch.randn(SAMPLES, 16, generator=g)
    numbers = torch.arange(float(SAMPLES)).view(-1, 1, 1, 1, 1)
    watch = Watch(Coded(rows), lambda: numbers, 1)
    watch.at(0)
    assert watch.rows[0]["rank"] > 1.5 and watch.rows[0]["most"] == 16
    message = "COLLAPSED, the embeddings of samples differ almost only along one direction"
    assert message in watch.verdict()
