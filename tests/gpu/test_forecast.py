"""``bench plan --gpu``: what trainings take of a card, what helps where they do not fit, what is remembered."""

import json
from dataclasses import replace
from itertools import repeat
from types import SimpleNamespace

import pytest
import torch
from one_line import refusal
from small_protocol import BASE, cell

from bench.cli import main
from bench.conformance.test_methods import Operations
from bench.errors import BenchError
from bench.executors.slurm.profile import Profile
from bench.gpu import forecast, memory, steps
from bench.gpu.cards import CARDS, Speed, calibrate, calibrated, card
from bench.gpu.device import unavailable
from bench.gpu.forecast import Forecast, Need
from bench.gpu.memory import StepMemory
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.plan import Plan
from bench.protocol import read
from bench.show import gpu_text
from bench.train.loop import Run, fit
from bench.train.samples import stack

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "-")
H100 = CARDS["h100-80gb"]


def tuned(**settings):
    """Return what changes the fine-tuning of the small protocol."""
    return {"finetune": [{**BASE["finetune"][0], **settings}]}


@pytest.fixture(scope="module")
def remembered(tmp_path_factory):
    return tmp_path_factory.mktemp("steps") / memory.NAME


@pytest.fixture
def needs_of(plan_of, remembered):
    """Return a function that plans and returns the plan with what its jobs need."""

    def needs(changes=None, to=H100, **given):
        plan = plan_of(changes, **given)
        forecasts = Forecast(plan, to, StepMemory(remembered), given.get("processes", 1))
        return plan, forecasts.needs(plan.wanted())

    return needs


def of_kind(plan, needs, kind):
    return next(need for job, need in needs.items() if plan.jobs[job].kind == kind)


def done_on_cpu(trained, tmp_path):
    """Take the step on the CPU and return its operations."""
    training = replace(trained.training, steps=1)
    batch = stack([trained.read(n) for n in range(training.batch)])
    with Operations() as counter:
        fit(trained.objective, lambda start: repeat(batch), Run(training, 0, tmp_path))
    return counter.total


def test_operations_are_those_of_a_step_on_the_cpu(plan_of, tmp_path):
    specs = {job.kind: job.spec for job in plan_of().jobs.values()}
    for spec, count, trained in (
        (specs["pretrain"], steps.pretraining, steps.pretrained),
        (specs["finetune"], steps.finetuning, steps.finetuned),
    ):
        counted = count(spec)
        # views of a CPU are made by other operations than a card's
        assert counted.flops == pytest.approx(done_on_cpu(trained(spec), tmp_path), rel=0.01)
        assert 0 < counted.fixed < counted.most


def test_what_does_not_depend_on_the_batch_is_weights_gradients_and_two_moments(plan_of):
    spec = next(j.spec for j in plan_of().jobs.values() if isinstance(j.spec, FinetuneSpec))
    network = steps.finetuned(spec).objective
    weights = sum(p.numel() * p.itemsize for p in network.parameters())
    buffers = sum(b.numel() * b.itemsize for b in network.buffers())
    moments = 2 if spec.finetune.optimiser.name.startswith("adam") else 1
    assert steps.finetuning(spec).fixed == (2 + moments) * weights + buffers


def test_a_cut_batch_takes_less_memory_and_as_many_operations(plan_of):
    def step(accumulate):
        changes = tuned(batch=4, accumulate=accumulate)
        plan = plan_of(changes)
        return steps.finetuning(
            plan.spec(cell(plan, row="alone", fraction=25, seed=0).finetune, FinetuneSpec)
        )

    all_at_once, cut = step(1), step(4)
    assert cut.flops == pytest.approx(all_at_once.flops, rel=1e-3)
    assert cut.fixed == all_at_once.fixed and cut.samples == 1
    assert cut.most < 0.5 * all_at_once.most


def test_a_second_plan_counts_no_step(needs_of, monkeypatch):
    _, first = needs_of()
    monkeypatch.setattr(forecast, "_counted", lambda *given: pytest.fail("counted again"))
    _, again = needs_of()
    assert again == first
    # neither the seed nor how long it trains changes a step
    needs_of({"pretrain": {"steps": 9}, **tuned(seeds=[7], steps=3)})


def test_hours_are_steps_times_a_step_and_evaluations_go_by_their_windows(needs_of):
    plan, needs = needs_of()
    job = next(j for j in plan.jobs.values() if isinstance(j.spec, PretrainSpec))
    need, spec = needs[job.id], job.spec
    assert need.hours == pytest.approx(spec.pretrain.steps * need.step / 3600)
    assert need.fits and not need.advice and need.disk > 0
    predicted = of_kind(plan, needs, "evaluate")
    assert predicted.hours > 0 and predicted.teraflop > 0 and predicted.gib > 0
    assert of_kind(plan, needs, "prepare") == forecast.Need(assumed=forecast.NO_CARD)


def holding(size):
    """Return a card that holds so many GiB of a step and no more."""
    return replace(H100, gib=1.0001 * size * 1.1 + 1)


def test_a_fine_tuning_that_does_not_fit_is_cut_or_takes_half_precision(needs_of):
    # group norm is in fp32 under autocast, so 16 bits do not help a small U-Net
    net = {"network": "unetr", "preset": "tiny", "crop": [32, 32, 32]}
    changes = {"networks": {"net": net}, "rows": {"pair": None}, "pretrain": None, **tuned(batch=4)}
    plan, needs = needs_of(changes)
    job = plan.jobs[cell(plan, row="alone", fraction=25, seed=0).finetune]
    recipe = replace(job.spec.finetune, precision="bf16")
    half = steps.finetuning(replace(job.spec, finetune=recipe)).most / 2**30
    assert half < needs[job.id].gib
    small = holding(half)
    _, needs = needs_of(changes, small)
    assert needs[job.id].fits is False and needs[job.id].advice.endswith("; or bf16")
    parts = int(needs[job.id].advice.removeprefix("accumulate ").split(";")[0])
    plan, cut = needs_of({**changes, **tuned(batch=4, accumulate=parts)}, small)
    assert of_kind(plan, cut, "finetune").fits
    _, needs = needs_of(changes, replace(H100, gib=1.0001))
    assert needs[job.id].advice.startswith("a card of ")


def test_a_loss_that_compares_samples_takes_more_processes(needs_of):
    changes = {"pretrain": {"batch": 8}}
    plan, needs = needs_of(changes)
    small = holding(0.8 * of_kind(plan, needs, "pretrain").gib)
    plan, needs = needs_of(changes, small)
    assert of_kind(plan, needs, "pretrain").advice.startswith("2 processes")
    plan, needs = needs_of(changes, small, processes=2)
    assert of_kind(plan, needs, "pretrain").fits


def test_totals_come_first_and_never_in_years(needs_of, protocol_file):
    plan, needs = needs_of()
    protocol = replace(read(protocol_file()), name="test0")
    site = gpu_text.Site(replace(H100, count=4), Profile(gpus=1, minutes=60, pack=2))
    lines = gpu_text.as_lines(plan, [protocol], needs, site, set())
    assert "GPU-hours on h100-80gb" in lines[0] and "on 4;" in lines[0]
    assert "the largest job needs" in lines[1] and "GiB on disk" in lines[1]
    assert "5 tasks of 60 minutes" in lines  # one pretraining, and two cells in each of four
    assert "assumed, not measured" in "\n".join(lines)
    text = "\n".join(lines)
    assert "years" not in text and "pair: 4 cells" in text and "pretrain " in text
    assert any(line.startswith("a task of 60 minutes: ") for line in lines)
    capped = gpu_text.Site(H100, Profile(gpus=1, max_gpus=3))
    lines = gpu_text.as_lines(plan, [protocol], needs, capped, set())
    assert "on 3;" in lines[0] and "at most 3 GPUs at once (max_gpus)" in lines


def chain(hours, *needs):
    return hours, needs


DAYS = {  # jobs by name: hours and what each needs; cards: hours on the clock
    "one after the other": ({"a": chain(10), "b": chain(27, "a")}, 8, 37.0),
    "side by side": ({"a": chain(4), "b": chain(4), "c": chain(4)}, 2, 8.0),
    "the long way first": ({"x": chain(3), "a": chain(2), "b": chain(5, "a")}, 1, 10.0),
    "no gap": ({"a": chain(5), "b": chain(5, "a"), "c": chain(5), "d": chain(5)}, 2, 10.0),
    "without a card": ({"a": chain(0), "b": chain(3, "a")}, 1, 3.0),
    "nothing": ({}, 4, 0.0),
}


@pytest.mark.parametrize("case", DAYS)
def test_days_on_cards_keep_the_order_of_jobs(case):
    jobs, cards, expected = DAYS[case]
    plan = Plan(jobs={name: SimpleNamespace(needs=needs) for name, (_, needs) in jobs.items()})
    todo = {name: Need(hours=hours) for name, (hours, _) in jobs.items()}
    assert gpu_text.together(plan, todo, gpu_text.Site(replace(H100, count=cards))) == expected
    # each task of four cards waits for all four
    four = gpu_text.Site(replace(H100, count=4 * cards), Profile(gpus=4))
    assert gpu_text.together(plan, todo, four) == expected


def test_a_mixture_that_is_not_here_is_counted_by_the_cases_of_its_paper(capsys, tmp_path):
    words = ["plan", "pgl_table5", "--only", "row=pgl", "--gpu", "a100-40gb"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert (
        "the data are not here: steps of 1 pretrain are by the number of cases in the paper" in text
    )
    assert "of unknown length" not in text and "GPU-hours" in text.partition("pretrain ")[2]


def test_processes_share_the_hours_of_a_job_and_the_longest_job_is_shorter(needs_of):
    need = Need(hours=6.0, processes=3)
    assert need.elapsed == 2.0 and Need(hours=None).elapsed == 0.0
    plan, needs = needs_of(processes=2)
    pretraining = of_kind(plan, needs, "pretrain")
    assert pretraining.elapsed == pytest.approx(pretraining.hours / 2)
    assert of_kind(plan, needs, "finetune").processes == 1


def test_json_has_what_the_contract_names(small_phantoms_plan):
    shown = small_phantoms_plan("--json")
    for job in json.loads(shown)["jobs"]:
        assert set(job["gpu"]) == {"gib", "teraflop", "hours", "fits", "assumed"}
        is_training = job["kind"] in ("pretrain", "finetune")
        assert (job["gpu"]["hours"] or 0) > 0 or not is_training
        assert job["gpu"]["fits"] is True


@pytest.fixture
def small_phantoms_plan(protocol_file, phantoms, remembered, capsys):
    def plan(*more, gpu="24gb"):
        words = ["plan", str(protocol_file()), "--out", str(remembered.parent)]
        assert main([*words, "--data", str(phantoms), "--gpu", gpu, *more]) == 0
        return capsys.readouterr().out

    return plan


def test_memory_alone_names_the_card_whose_speed_is_assumed(small_phantoms_plan):
    first = small_phantoms_plan().splitlines()[0]
    assert "24gb (as fast as rtx3090-24gb)" in first


UNKNOWN = {
    "h100-80g": "did you mean 'h100-80gb'",
    "tpu": "no card named 'tpu'",
    "h100-80gbx0": "did you mean 'h100-80gb'",
}


@pytest.mark.parametrize(("name", "says"), UNKNOWN.items())
def test_an_unknown_card_is_refused_in_a_line_with_the_nearest(name, says, protocol_file, capsys):
    error = refusal(capsys, "plan", protocol_file(), "--gpu", name)
    assert says in error and "24gb" in error


def test_a_profile_names_its_card():
    assert Profile(card="a100-40gb").card == "a100-40gb"
    with pytest.raises(BenchError, match="did you mean 'a100-40gb'"):
        Profile(card="a100-40g")


def test_a_card_goes_by_its_roofline():
    fast = replace(H100, speed=Speed(compute=1.0, memory=1.0, launch=1e-6))
    rows = [("half", 2, 989e12, 1e9), ("memory", 1, 0.0, 3350e9), ("memory", 1000, 0.0, 10.0)]
    assert fast.seconds(rows) == pytest.approx(1 + 1 + 1e-3)
    assert fast.seconds([("convolution", 1, 495e12, 0.0)]) == pytest.approx(1)
    assert fast.seconds([("product", 1, 67e12, 0.0)]) == pytest.approx(1)


def test_a_calibration_is_written_and_read(tmp_path):
    path = tmp_path / "gpu_calibration.json"
    assert card("h100-80gb", path).speed == Speed()
    measured = Speed(0.3, 0.7, 6e-6, "2026-11-27")
    calibrate(path, "a100-40gb", measured)
    calibrate(path, "h100-80gb", replace(measured, compute=0.4))
    assert card("h100-80gbx4", path).speed.compute == 0.4 and len(calibrated(path)) == 2
    assert card("h100-80gb", path).speed.text.startswith("measured 2026-11-27: ")
    path.write_text('{"h100-80gb": {"compute": "fast"}}')
    with pytest.raises(BenchError, match="make speed-gpu"):
        card("h100-80gb", path)


def test_what_was_remembered_and_is_damaged_is_counted_again(tmp_path, plan_of):
    path = tmp_path / memory.NAME
    path.write_text('{"key": {"most": "much"}}')
    step = steps.Step(5, 1, 2, 3, (("half", 1, 2.0, 3.0),))
    assert StepMemory(path).get("key", lambda: step) == step
    assert StepMemory(path).get("key", lambda: pytest.fail("counted again")) == step


def test_a_method_that_cannot_be_counted_says_why(needs_of, monkeypatch):
    def refuse(*given):
        raise NotImplementedError("no kernel for this\nmore")

    monkeypatch.setattr(forecast, "_counted", refuse)
    plan, needs = needs_of({"pretrain": {"batch": 6}})
    need = of_kind(plan, needs, "pretrain")
    assert need.hours is None and need.assumed == "not counted: no kernel for this"


def test_torch_is_as_it_was():
    assert torch.get_default_device().type == "cpu"
    assert not torch.__future__.get_swap_module_params_on_conversion()
