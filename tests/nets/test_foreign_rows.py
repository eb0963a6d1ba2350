"""A row from weights of public key layouts: planned, loaded, fine-tuned, predicted and recorded."""

import json
import re

import pytest
import test_foreign_weights as files
import torch
import yaml
from described import describe, execute
from test_foreign_weights import thin

from bench import records, run
from bench.cli import main
from bench.errors import BenchError
from bench.export import export
from bench.nets import exported, transfer
from bench.show import reports
from bench.store import Store

__all__ = ["thin"]  # the fixture: published structures at a size that takes a moment
NAME = "msd04_hippocampus"
# by network, else the smallest that instance norm trains on
CROP = {"genesis_unet3d": [32, 32, 16]}


def nnssl():
    return {"network_weights": files.resenc().state_dict(), "nnssl_adaptation_plan": files.plan()}


def genesis():
    net = files.Genesis(4)
    net(torch.randn(2, 1, 32, 32, 16))
    return {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}


def students():
    return files.teacher_and_student(files.swin(v2=True))


LAYOUTS = {  # test_foreign_weights has the others, which differ by names alone
    "voco_students": (students, "swin_unetr", "thin_v2_legacy"),
    "models_genesis": (genesis, "genesis_unet3d", "tiny"),
    "nnssl": (nnssl, "resenc_unet", "thin"),
}


def protocol(folder, network, preset, init="weights.pt", steps=1):
    crop = CROP.get(network, [64, 32, 32])
    net = {"network": network, "preset": preset, "crop": crop}
    row = {"method": "voco", "network": "net", "init": init, "title": "Theirs"}
    path = folder / "rows.yaml"
    tuning = {"dataset": NAME, "split": "even", "recipe": {"resize": crop, "scale": "zscore"}}
    tuning |= {"steps": steps, "batch": 2, "precision": "fp32", "inference": {"overlap": 0.0}}
    rows = {"scratch": {"method": "scratch", "network": "net"}, "theirs": row}
    phantoms = {NAME: {"cases": 6, "seed": 0}}
    content = {"title": "outside", "networks": {"net": net}, "phantoms": phantoms, "rows": rows}
    path.write_text(yaml.safe_dump({**content, "finetune": [tuning]}))
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_of_each_layout_becomes_a_row(name, thin, tmp_path):
    make, network, preset = LAYOUTS[name]
    torch.save(make(), tmp_path / "weights.pt")
    path = protocol(tmp_path, network, preset)
    plan, store = ran(path, tmp_path / "out")
    table = records.collect(plan, store, "rows").set_index("row")
    theirs = table.loc["theirs"]
    assert set(theirs["init"]) == {f"file:{next(iter(plan.files.paths))}"}
    assert set(theirs["pretrain"]) == {"file"}
    assert set(table.loc["scratch"]["init"]) == {"random"}
    assert len(theirs) == len(table.loc["scratch"])
    (tuned,) = {c.finetune for c in plan.cells["rows"] if c.row == "theirs"}
    receipt = store.manifest(tuned)["receipt"]
    assert receipt["share"] == 1 and not receipt["missing"]


def ran(path, out):
    """Run a protocol in this process; return its plan and its output folder."""
    store = Store.open(out)
    request = run.Request((path,), store.root)
    plan = run.make_plan(request, request.read(), need_data=True)
    jobs = run.todo(plan, store)
    run.rehearse(plan, jobs)
    describe(plan, store, jobs)
    for job in jobs:
        outcome = execute(str(store.root), job)
        assert outcome.state == "done", outcome.reason
    return plan, store


def test_a_file_for_nnunet_has_its_network_for_the_plans_beside_it(thin, monkeypatch, tmp_path):
    make, network, preset = LAYOUTS["nnssl"]
    torch.save(make(), tmp_path / "weights.pt")
    monkeypatch.setitem(exported.ARCHITECTURES, (network, preset), "ResEncL")
    plan, store = ran(protocol(tmp_path, network, preset), tmp_path / "out")
    (tuned,) = {c.finetune for c in plan.cells["rows"] if c.row == "theirs"}
    said = export(store, tuned, tmp_path / "a.pth", "nnssl")
    stated = json.loads((tmp_path / "a.json").read_text())
    crop = transfer.read(store.jobs / tuned / "last.safetensors")[1].crop
    assert stated["patch_size"] == [*reversed(crop)]
    assert stated["architecture"]["arch_kwargs"]["n_stages"] == 6
    assert f"{tmp_path}/a.json: the network as nnU-Net's plans state it" in said
    (tmp_path / "a.pth").unlink()
    with pytest.raises(BenchError, match=r"a\.json: exists already; name another file"):
        export(store, tuned, tmp_path / "a.pth", "nnssl")
    assert not (tmp_path / "a.pth").exists()


def test_a_row_that_lacks_layers_is_marked_in_its_table_and_in_the_notes(thin, tmp_path):
    state = {k: v for k, v in genesis()["state_dict"].items() if "bn1" not in k}
    assert len(state) < len(genesis()["state_dict"])
    torch.save({"state_dict": state}, tmp_path / "weights.pt")
    init = {"file": "weights.pt", "lacks": ["norms"]}
    path = protocol(tmp_path, "genesis_unet3d", "tiny", init)
    plan, store = ran(path, tmp_path / "out")
    list(reports.write_reports(run.Request((path,), store.root).read(), plan, store))
    text = (store.root / "reports/rows/table.md").read_text()
    letter = re.search(
        r"<sup>(.)</sup> the weights that the row starts from lack .*: norms\n", text
    )[1]
    marked = re.compile(rf"<sup>(. )?{letter}( .)?</sup>")
    table = [line for line in text.partition("\n- <sup>")[0].splitlines() if line.startswith("|")]
    (scratch,), (theirs,) = (
        [x for x in table if x.startswith(f"| {n}")] for n in ("From scratch", "Theirs")
    )
    assert len(marked.findall(theirs)) == 3 and not marked.search(scratch)
    assert (
        "Theirs: from weights.pt, pretrained elsewhere, so no guard looked for test cases in it; WITH"
        in text
    )
    assert "WITHOUT the encoder's norms, as the row allows: 34 tensors, among them 99.7 %" in text


def rehearsed(folder, preset, init):
    """Return what is told of a file before anything runs, and the spec of its fine-tuning."""
    path = protocol(folder, "swin_unetr", preset, init)
    request = run.Request((path,), folder / "out", phantoms=True)
    plan = run.make_plan(request, request.read(), need_data=True)
    (tuned,) = {c.finetune for c in plan.cells["rows"] if c.row == "theirs"}
    return run.rehearse(plan, [tuned]), plan.jobs[tuned]


def test_a_row_states_the_preset_that_a_files_tensors_leave_open(thin, tmp_path):
    # of MONAI 1.5 or later
    torch.save(files.swin(merging="merging").state_dict(), tmp_path / "weights.pt")
    printed, silent = rehearsed(tmp_path, "thin_legacy", "weights.pt")
    assert len(printed) == 1
    assert "thin_legacy alike; thin_legacy (merging legacy) is taken" in printed[0]
    with pytest.raises(
        BenchError, match=r"thin_legacy do not fit.*state it: init: \{file: FILE, preset:"
    ):
        rehearsed(tmp_path, "thin", "weights.pt")
    printed, stated = rehearsed(tmp_path, "thin", {"file": "weights.pt", "preset": "thin"})
    assert printed == []
    assert stated.spec.given.preset == "thin"
    assert stated.spec.init == silent.spec.init
    with pytest.raises(BenchError, match="not the size of preset 'base'"):
        rehearsed(tmp_path, "thin", {"file": "weights.pt", "preset": "base"})
    state = {k: v for k, v in files.swin().state_dict().items() if ".attn." not in k}
    torch.save(state, tmp_path / "weights.pt")
    legacy = {"file": "weights.pt", "preset": "thin_legacy"}
    with pytest.raises(
        BenchError, match=r"weights\.pt: .* lacks attention of .*lacks: \[attention\]"
    ):
        rehearsed(tmp_path, "thin_legacy", legacy)
    assert rehearsed(tmp_path, "thin_legacy", {**legacy, "lacks": ["attention"]})[0] == []


@pytest.mark.parametrize(
    ("network", "preset", "match"),
    [
        ("swin_unetr", "tiny", "swin_unetr/thin_legacy do not fit swin_unetr/tiny"),
        ("unet3d", "tiny", "swin_unetr/thin_legacy do not fit unet3d/tiny"),
    ],
)
def test_a_file_that_does_not_fit_stops_a_run_before_it_starts(
    network, preset, match, thin, tmp_path, capsys
):
    torch.save(files.swin_alone(files.swin()), tmp_path / "weights.pt")
    path = protocol(tmp_path, network, preset)
    assert main(["run", str(path), "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "weights.pt" in message and match in message
    assert not list((tmp_path / "out" / "jobs").iterdir())
