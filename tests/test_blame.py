"""What a plugin's code raises, anywhere, is one line with its file and line."""

import pickle
import re
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from outside import written

from bench import nets, plugins, registry, workers
from bench.blame import blaming, defined
from bench.cli import main
from bench.errors import BenchError, Bug
from bench.extras.new import TEMPLATES
from bench.jobs.pretrain.run import Pretext, _Reader, handed_on
from bench.train.samples import Samples, batches, stack

pytestmark = pytest.mark.usefixtures("own_place")
CROPS = {"crop": torch.rand(2, 1, 16, 16, 16)}


def used(folder, before, after, more=""):
    """Use the template of a method with one text for another and more at its end; return its file."""
    file = written(folder, "method", change=lambda text: text.replace(before, after) + more)
    plugins.use([file])
    return file


def built():
    """Return that method around a tiny network, and the network."""
    network = nets.network("unet3d", "tiny", 1, 2, (16, 16, 16))
    return registry.load("method", "my_method").build(network), network


def refused(file, said):
    """Expect what is said of a line of the file; nothing where nothing is said."""
    return pytest.raises(BenchError, match=f"^{file}:{said}") if said else nullcontext()


FAILS = {  # command, kind, what is written in the template: what is said, and of which exception
    "check": ("check", "dataset", ('clean(root.glob("images/*.nii.gz"))', 'root["x"]'),
              r":22: TypeError: 'PosixPath' object is not subscriptable; correct the code"),
    "plan": ("plan", "dataset", ("cases = []", "cases = {}['gone']"), r":25: KeyError: 'gone'; correct the code"),
    "below": ("plan", "dataset", ("clean(root.glob(", "clean((1, "),
              r":22: AttributeError: .* \(raised in bench/dataset\.py:\d+\); correct the code"),
    "its own kind": ("plan", "dataset", ("cases = []", "raise type('Odd', (Exception,), {})('a\\nb')"),
                     r":25: Odd: a; correct the code"),
    "leaves": ("check", "dataset", ("cases = []", "raise SystemExit(0)"), r":25: SystemExit: 0; correct the code"),
    "a list": ("plan", "dataset", ("cases = []", "cases = open('gone')"),
               r":25: FileNotFoundError: .*'gone'"),
    "phantoms": ("run", "dataset", ("len(cls.labels)", "cls.lables"),
                 r":38: AttributeError: .*lables"),
    "no head": ("run", "method", ("network.encoder.widths", "network.width"),
                r":40: AttributeError: .*width"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "kind", "change", "said"), FAILS.values(), ids=FAILS)
def test_what_a_plugins_code_raises_is_one_line_with_its_file_and_line(
    tmp_path, capsys, command, kind, change, said
):
    file = written(tmp_path / "mine", kind, change=lambda text: text.replace(*change))
    protocol = tmp_path / "mine" / "p.yaml"
    protocol.write_text((TEMPLATES / f"my_{kind}.yaml").read_text())
    shutil.copytree(TEMPLATES / "splits", tmp_path / "mine" / "splits")
    (images := tmp_path / "data" / "my_dataset" / "images").mkdir(parents=True)
    (images / "a.nii.gz").write_bytes(b"")
    given = [] if command == "run" else ["--data", str(tmp_path / "data")]
    named = ["my_dataset", "--plugins", str(file)] if command == "check" else [str(protocol)]
    assert main([command, *named, *given]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "Traceback" not in told.out
    assert re.search(f"^bench: {file}{said}", told.err), told.err


HELPS = {  # what a plugin's helper does as it is called, or imported: what is raised, and what it says
    "raises": ("return {}[1]", Bug, r"helper\.py:2: KeyError: 1; correct the code"),
    "a full disk": ("raise OSError(28, 'full')", OSError, r"^\[Errno 28\] full$"),
    "half": ("x = (", BenchError, r"helper\.py:2: SyntaxError: '\(' was never closed; correct or"),
}


@pytest.mark.parametrize(("does", "kind", "said"), HELPS.values(), ids=HELPS)
def test_what_a_plugins_helper_raises_is_named_where_it_stands(tmp_path, does, kind, said):
    file = written(tmp_path, "method", change=lambda text: "from .helper import x\n" + text)
    (tmp_path / "helper.py").write_text(f"def x():\n    {does}\n")
    plugins.use([file])
    with pytest.raises(kind, match=said) as told, blaming():
        sys.modules[registry.load("method", "my_method").__module__].x()
    if kind is Bug:  # handed from one process to another
        again = pickle.loads(pickle.dumps(workers._sendable(told.value, "task")))
        assert str(again) == str(told.value) and "helper.py" in again.trace


def test_what_a_method_raises_in_a_job_is_the_jobs_reason_and_its_trace_is_in_the_log(
    tmp_path, capsys, inlined
):
    raises = ('batch["way"])', 'batch["gone"])')
    file = written(tmp_path, "method", change=lambda text: text.replace(*raises))
    protocol = yaml.safe_load((TEMPLATES / "my_method.yaml").read_text())
    protocol["phantoms"]["msd04_hippocampus"]["cases"] = 6
    tuning = {"fractions": [100], "steps": 1}
    protocol["scales"]["smoke"] = {"pretrain": {"steps": 1}, "finetune": tuning}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(protocol))
    assert main(["run", str(tmp_path / "p.yaml"), "--only", "row=my_method"]) == 1
    told = capsys.readouterr()
    line = next(line for line in told.out.splitlines() if line.startswith("failed: "))
    assert re.search(
        rf"{file}:43: KeyError: 'gone' \(the batch has 'mirrored', 'way'.*\); correct the code",
        line,
    )
    assert "Traceback" not in told.out + told.err
    assert "Traceback" in Path(re.search(r"\(log (.+?)\)", line)[1]).read_text()


TERMS = '{"total": total, "accuracy": accuracy, "chance": constant(1 / WAYS, accuracy.device)}'
GIVES = {  # what the template's loss returns instead, and what is said of it
    "total": "a Tensor; it must return a dict of scalar tensors, 'total' among",
    "None": "nothing; it must return a dict",
    "(total, accuracy)": "a tuple; it must return a dict",
    '{"loss": total}': "loss but no 'total', the value to minimise$",
    "{}": "no term but no 'total'",
    '{"total": total.repeat(3)}': r"'total' of shape \(3,\); reduce it",
    '{"total": total, "x": batch["way"]}': r"'x' of shape \(2,\)",
    '{"total": total.item()}': "a float as 'total'; make it a scalar",
    '{"total": total, "n": 3}': "a int as 'n'; make it a scalar",
    '{"total": total.detach()}': "a 'total' without gradient",
    '{"total": total, "lr": total}': "a term 'lr'; use another name",
    "noisy": "31: views returns a Tensor; it must return a dict",
    '{"total": total, "chance": accuracy}': "total, chance but no 'accuracy', which figure names; return",
    '{"total": total, "accuracy": accuracy}': "total, accuracy but no 'chance', which figure names",
    '{"total": total[None], "accuracy": accuracy, "chance": accuracy}': "",
}


@pytest.mark.parametrize(("after", "said"), GIVES.items())
def test_a_loss_that_nothing_can_be_trained_by_is_named_with_its_line(tmp_path, after, said):
    before = '{"mirrored": noisy, "way": way}' if after == "noisy" else TERMS
    said = said if after == "noisy" or not said else f"42: loss returns {said}"
    file = used(tmp_path, before, after)
    trained = Pretext(built()[0], {}, None, None)
    with refused(file, said):
        trained(CROPS, torch.Generator())["total"].backward()


@pytest.mark.parametrize("detached", [True, False])
def test_a_loss_without_gradient_for_the_encoder_is_refused_at_the_first_step(tmp_path, detached):
    embedded = 'self.encoder.embed(batch["mirrored"])'
    file = used(tmp_path, embedded, f"{embedded}{'.detach()' * detached}")
    trained = Pretext(built()[0], {}, None, None)
    trained(CROPS, torch.Generator())["total"].backward()
    with refused(file, " the loss gives the encoder no gradient" * detached):
        trained.check_gradients()


NOISE = "        noise: float"
OTHER = {  # a parameter that no job's id can hold: what it is called
    "object = lambda x: x": "a lambda",
    "str = lambda x: x": "a lambda",
    "object = nn.functional.relu": "the function relu",
    "type = nn.ReLU": "the class ReLU",
    "tuple[float, ...] = (1.0, torch.zeros(2))": "a Tensor",
}


@pytest.mark.parametrize(("declared", "called"), OTHER.items())
def test_a_parameter_that_no_jobs_id_can_hold_is_named_with_its_line(tmp_path, declared, called):
    file = used(tmp_path, NOISE, f"        act: {declared}\n{NOISE}")
    with refused(file, f"29: .* parameter 'act' is {called};"):
        registry.load("method", "my_method").make_params({})


TOTAL = "total, accuracy = classified("
DRAWN = {  # what the template's loss does before that: what is said; "" where it may
    "torch.randn_like(batch['mirrored'])": "43: torch's randn_like is called without a generator; draw random",
    "torch.rand(3, generator=torch.Generator())": "",
    "torch.zeros(3).uniform_()": "43: torch's uniform_ is called without a generator",
    "nn.functional.dropout(torch.ones(3))": "",
    "__import__('numpy').random.rand()": "42: NumPy's global random generator is used; draw random",
    "__import__('random').random()": "42: Python's global random generator is used",
}


@pytest.mark.parametrize(("code", "said"), DRAWN.items())
def test_a_loss_that_draws_from_a_global_generator_is_warned_of_once(tmp_path, code, said):
    file, warned = used(tmp_path, TOTAL, f"{code}\n        {TOTAL}"), []
    trained = Pretext(built()[0], {}, None, None, warn=warned.append)
    for _ in range(2):
        trained(CROPS, torch.Generator())
    assert [text.partition("; ")[0] for text in warned] == [f"{file}:{said.partition('; ')[0]}"][
        : bool(said)
    ]


CONSTRUCTED = "super().__init__(network, params)"
SILENT = {  # mistakes that raise nothing by themselves: a change of the template, and what is said of it
    "a batch changed in place": (
        (TOTAL, f"batch['mirrored'][:1].zero_()\n        {TOTAL}"),
        "42: loss changes 'mirrored' of its batch in place; change a copy",
    ),
    "a copy changed": ((TOTAL, f"batch['mirrored'].clone().zero_()\n        {TOTAL}"), ""),
    "layers in a list": (
        (CONSTRUCTED, f"{CONSTRUCTED}\n        self.more = [nn.Linear(2, 2)]"),
        " 'more' is a list of layers, which torch neither trains nor saves; use nn.ModuleList",
    ),
    "layers in a dict": (
        (CONSTRUCTED, f"{CONSTRUCTED}\n        self.more = {{'a': nn.Linear(2, 2)}}"),
        " 'more' is a dict of layers, which torch neither trains nor saves; use nn.ModuleDict",
    ),
    "a hidden teacher": (
        (CONSTRUCTED, f"{CONSTRUCTED}\n        self._teacher = (nn.Linear(2, 2),)"),
        " '_teacher' is a tuple of layers, which torch neither trains nor saves; use nn.ModuleList",
    ),
    "known layers in a list": (
        (CONSTRUCTED, f"{CONSTRUCTED}\n        self.more = [self.encoder]"),
        "",
    ),
    "another constructor": (
        ("def __init__(self, network", "def __init__(self, more, network"),
        r"\d+: __init__\(self, more, network, params\) must take \(self, network, params\)",
    ),
    "another signature": (
        (NOISE, f"        def check(self, crop): ...\n\n{NOISE}"),
        r"29: check\(self, crop\) must take \(self, crop, recipe\)",
    ),
}


@pytest.mark.parametrize(("change", "said"), SILENT.values(), ids=SILENT)
def test_a_mistake_that_raises_nothing_is_refused_with_its_file(tmp_path, change, said):
    file = used(tmp_path, *change)
    with refused(file, said):
        Pretext(built()[0], {}, None, None)(CROPS, torch.Generator())


def test_what_a_method_raises_in_a_loaders_process_is_one_line(tmp_path):
    used(tmp_path, "", "", "\n\ndef read(*at):\n    1 / 0\n")
    read = sys.modules[registry.load("method", "my_method").__module__].read
    message = r"my_method\.py:48: ZeroDivisionError: division by zero; correct the code"
    with pytest.raises(Bug, match=message):
        next(batches(Samples(1, 1, 0, read), 1, 0, 1, workers=1))


HANDED = {  # what transfer returns: what is said
    "{'enc.' + k: v for k, v in self.encoder.state_dict().items()}": (
        r".* matches only 0.0 % .*first missing 'encoder\.conv_0.*nearest name in the file 'enc\.conv_0"
    ),
    "{}": "network 'unet3d' .tiny.: the checkpoint matches only 0.0 % of the encoder's parameters",
    "{k: v[:1] for k, v in super().transfer().items()}": r"tensor 'encoder\..* has shape \(1,",
    "super().transfer()": "",
}


@pytest.mark.parametrize(("returned", "said"), HANDED.items())
def test_weights_that_no_fine_tuning_could_load_are_named_with_the_line_of_transfer(
    tmp_path, returned, said
):
    file = used(tmp_path, "", "", f"\n    def transfer(self):\n        return {returned}\n")
    method, network = built()
    if not said:
        assert handed_on(method, network).keys() == method.handed("encoder").keys()
        return
    message = rf"^{file}:46: fine-tuning could not load what transfer returns: {said}.*; return the network's own"
    with pytest.raises(BenchError, match=message) as told:
        handed_on(method, network)
    assert "check network" not in str(told.value) and "preset and channels" not in str(told.value)


def test_samples_whose_shapes_differ_are_named_with_the_line_of_read(tmp_path):
    own = """        def read(self, volume, crop, rng):
            return {"crop": volume}
"""
    file = used(tmp_path, NOISE, f"{own}\n{NOISE}")
    reader = object.__new__(_Reader)
    reader._params = registry.load("method", "my_method").make_params({})
    assert defined(reader) == f"{file}:29"
    message = (
        rf"^{file}:29: read returns 'crop' of shape \(1, 2\) for one sample and \(1, 3\) for another; "
        "return arrays of the same shape"
    )
    samples = [{"crop": np.zeros((1, side))} for side in (2, 2, 3)]
    reader.cases = [None] * 3
    reader.__class__ = type(
        "Reader", (_Reader,), {"__call__": lambda self, case, *at: samples[case]}
    )
    for count in (0, 1):
        with pytest.raises(BenchError, match=message):
            next(batches(Samples(3, 3, 0, reader), 3, 0, 1, workers=count))
    assert "shape (1, 2) for one sample and none for" in str(stack([samples[0], {}]))
