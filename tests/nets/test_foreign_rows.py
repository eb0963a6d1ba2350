"""A row from weights of public key layouts: planned, loaded, fine-tuned, predicted and recorded."""

import json
import re
from dataclasses import replace

import pytest
import test_foreign_weights as files
import test_public_weights as outside_weights
import torch
import yaml
from described import describe, execute
from one_line import refusal, refused
from test_foreign_weights import thin

from bench import records, run
from bench.export import export
from bench.nets import exported, public_weights, transfer
from bench.nets.catalog import CATALOG
from bench.nets.sizes import PlainUNetSize, Preset
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

OTHER = {"file": "weights.pt", "recipe": "other"}  # prepared otherwise than for these weights


def protocol(
    folder, network, preset, init="weights.pt", steps=1, recipe=None, scratch=False, **finetune
):
    crop = CROP.get(network, [64, 32, 32])
    net = {"network": network, "preset": preset, "crop": crop}
    row = {"method": "voco", "network": "net", "init": init, "title": "Theirs"}
    path = folder / "rows.yaml"
    tuning = {"dataset": NAME, "split": "even", "recipe": {"resize": crop, "scale": "zscore"}}
    tuning["recipe"] = recipe or tuning["recipe"]
    tuning |= {"steps": steps, "batch": 2, "precision": "fp32", "inference": {"overlap": 0.0}}
    rows = {"theirs": {**row, **finetune}}
    rows |= {"scratch": {"method": "scratch", "network": "net"}} if scratch else {}
    phantoms = {NAME: {"cases": 6, "seed": 0}}
    content = {"title": "outside", "networks": {"net": net}, "phantoms": phantoms, "rows": rows}
    content |= {} if scratch else {"baseline": "none"}
    path.write_text(yaml.safe_dump({**content, "finetune": [tuning]}))
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_of_each_layout_becomes_a_row(name, thin, tmp_path):
    make, network, preset = LAYOUTS[name]
    torch.save(make(), tmp_path / "weights.pt")
    init = OTHER if name == "nnssl" else "weights.pt"
    path = protocol(tmp_path, network, preset, init)
    plan, store = ran(path, tmp_path / "out")
    table = records.collect(plan, store, "rows").set_index("row")
    theirs = table.loc["theirs"]
    assert set(theirs["init"]) == {f"file:{next(iter(plan.files.paths))}"}
    assert set(theirs["pretrain"]) == {"file"}
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
    plan, store = ran(protocol(tmp_path, network, preset, OTHER), tmp_path / "out")
    (tuned,) = {c.finetune for c in plan.cells["rows"] if c.row == "theirs"}
    said = export(store, tuned, tmp_path / "a.pth", "nnssl")
    stated = json.loads((tmp_path / "a.json").read_text())
    crop = transfer.read(store.jobs / tuned / "last.safetensors")[1].crop
    assert stated["patch_size"] == [*reversed(crop)]
    assert stated["architecture"]["arch_kwargs"]["n_stages"] == 6
    assert f"{tmp_path}/a.json: the network as nnU-Net's plans state it" in said
    (tmp_path / "a.pth").unlink()
    with refused(r"a\.json: exists already; name another file"):
        export(store, tuned, tmp_path / "a.pth", "nnssl")
    assert not (tmp_path / "a.pth").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_row_that_lacks_layers_is_marked_in_its_table_and_in_the_notes(thin, tmp_path):
    state = {k: v for k, v in genesis()["state_dict"].items() if "bn1" not in k}
    assert len(state) < len(genesis()["state_dict"])
    torch.save({"state_dict": state}, tmp_path / "weights.pt")
    init = {"file": "weights.pt", "lacks": ["norms"]}
    path = protocol(tmp_path, "genesis_unet3d", "tiny", init, scratch=True)
    plan, store = ran(path, tmp_path / "out")
    list(reports.write_reports(run.Request((path,), store.root).read(), plan, store))
    text = (store.root / "reports/rows/table.md").read_text()
    letter = re.search(r"<sup>(.)</sup> the row's initial weights lack .*: norms\n", text)[1]
    marked = re.compile(rf"<sup>(. )?{letter}( .)?</sup>")
    table = [line for line in text.partition("\n- <sup>")[0].splitlines() if line.startswith("|")]
    (scratch,), (theirs,) = (
        [x for x in table if x.startswith(f"| {n}")] for n in ("From scratch", "Theirs")
    )
    assert len(marked.findall(theirs)) == 3 and not marked.search(scratch)
    assert (
        "“Theirs”: the weights are from weights.pt; they were pretrained elsewhere, so no guard looked for test "
        "cases in their pretraining data; " in text
    )
    assert "34 tensors are loaded, with 99.7 %" in text
    assert "NOT loaded, as the row allows: the encoder's norms" in text


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
    assert "thin_legacy; thin_legacy (merging legacy) is used" in printed[0]
    with refused(r"thin_legacy do not fit.*write init: \{file: FILE, preset:"):
        rehearsed(tmp_path, "thin", "weights.pt")
    printed, stated = rehearsed(tmp_path, "thin", {"file": "weights.pt", "preset": "thin"})
    assert printed == []
    assert stated.spec.given.preset == "thin"
    assert stated.spec.init == silent.spec.init
    with refused("not the size of preset 'base'"):
        rehearsed(tmp_path, "thin", {"file": "weights.pt", "preset": "base"})
    state = {k: v for k, v in files.swin().state_dict().items() if ".attn." not in k}
    torch.save(state, tmp_path / "weights.pt")
    legacy = {"file": "weights.pt", "preset": "thin_legacy"}
    with refused(r"weights\.pt: .* lacks attention of .*lacks: \[attention\]"):
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
    message = refusal(capsys, "run", path, "--out", tmp_path / "out", "--workers", "1")
    assert "weights.pt" in message and match in message
    assert not list((tmp_path / "out" / "jobs").iterdir())


# Which recipe they were trained with

SUPREM = {"window": [-175.0, 250.0], "spacing": [1.5, 1.5, 1.5]}


def of_suprem(net):
    """Return a network as SuPreM saves it: a backbone, and beside it a head, of which one tensor is here."""
    state = files.whole_network(net)["state_dict"]
    head = {"module.controller.weight": torch.zeros(153, 512, 1, 1, 1)}
    return {"net": {f"module.backbone.{k}": v for k, v in state.items()} | head}


@pytest.fixture
def thin_suprem(thin, monkeypatch):
    """Let the table's SuPreM have the thin preset, too, so that a file of a moment is one of theirs."""
    table = {**public_weights.table()}
    table["suprem_swin_unetr"] = replace(table["suprem_swin_unetr"], presets=("thin_legacy",))
    monkeypatch.setattr(public_weights, "table", lambda: table)


@pytest.mark.parametrize(
    ("init", "recipe", "says"),
    [
        ({}, SUPREM, ""),
        ({"weights": "suprem_swin_unetr"}, SUPREM, ""),
        (
            {},
            {**SUPREM, "spacing": [1.5, 1.5, 3.0]},
            "suprem_swin_unetr: spacing 1.5 1.5 1.5; here: ",
        ),
        ({}, {**SUPREM, "window": [-100.0, 250.0]}, "here: window -100 250"),
        ({"recipe": "other"}, {"scale": "zscore"}, ""),
        (
            {"weights": "voco_160k"},
            SUPREM,
            "base_v2_legacy, but the row has network swin_unetr, preset thin_legacy",
        ),
        ({"weights": "suprem"}, SUPREM, "no weights named 'suprem'.*bench list weights"),
    ],
)
def test_a_recipe_that_is_not_the_weights_own_is_refused_unless_the_row_says_so(
    init, recipe, says, thin_suprem, tmp_path, capsys
):
    torch.save(of_suprem(files.swin()), tmp_path / "w.pth")
    stated = {"file": "w.pth", **init}
    path = protocol(tmp_path, "swin_unetr", "thin_legacy", stated, recipe=recipe)
    if not says:
        request = run.Request((path,), tmp_path / "out", phantoms=True)
        plan = run.make_plan(request, request.read(), need_data=True)
        run.rehearse(plan, [c.finetune for c in plan.cells["rows"] if c.row == "theirs"])
        return
    assert re.search(
        f"theirs.*{says}", refusal(capsys, "run", path, "--out", tmp_path / "out", "--workers", "1")
    )


@pytest.mark.usefixtures("undrawn")
def test_what_a_row_says_of_its_weights_changes_no_job_and_stands_in_the_notes(
    thin_suprem, tmp_path
):
    torch.save(of_suprem(files.swin()), tmp_path / "w.pth")
    ids, init = [], {"file": "w.pth"}
    for more in ({}, {"weights": "suprem_swin_unetr", "recipe": "other"}):
        path = protocol(tmp_path, "swin_unetr", "thin_legacy", {**init, **more}, recipe=SUPREM)
        plan, store = (ran if more else planned)(path, tmp_path / "out")
        ids.append({*plan.jobs})
    assert ids[0] == ids[1]
    list(reports.write_reports(run.Request((path,), store.root).read(), plan, store))
    text = (store.root / "reports/rows/table.md").read_text()
    assert "SuPreM, Swin UNETR; Li et al." in text and "licence: CC BY-NC-ND 4.0" in text
    assert "prepared by another recipe here than in that training" in text


def planned(path, out):
    request = run.Request((path,), Store.open(out).root)
    return run.make_plan(request, request.read(), need_data=True), None


# As they came

LABELS = {"anterior": [2, 5], "posterior": [1]}
AS_CAME = {"finetune": {"evaluation": "as_loaded"}}


def of_nnunet(folder, classes=6):
    torch.manual_seed(7)
    theirs = outside_weights.settled(outside_weights.plain(outside_weights.THIN, classes))
    torch.save({"network_weights": theirs.state_dict()}, folder / "w.pth")
    return theirs


def test_a_sigmoid_head_paints_the_classes_that_are_above_a_half(thin, monkeypatch, tmp_path):
    """SuPreM's SegResNet has no background: where no class is, nothing is painted."""
    torch.save({"net": outside_weights.resnet(25).state_dict()}, tmp_path / "w.pth")
    labels = {"anterior": ["liver"], "posterior": ["kidney_left", "kidney_right"]}
    init = {"file": "w.pth", "recipe": "other", "weights": "suprem_segresnet", "labels": labels}
    path = protocol(tmp_path, "segresnet", "base", init, **AS_CAME)
    plan, _ = planned(path, tmp_path / "out")
    (cell,) = [c for c in plan.cells["rows"] if c.row == "theirs"]
    data = plan.jobs[cell.evaluate].spec.data
    assert data.paint == ((2, 2), (3, 2), (4, 1)) and data.relabel == ()
    run.rehearse(plan, [cell.finetune])


@pytest.mark.parametrize(
    ("init", "finetune", "says"),
    [
        ({"labels": {"anterior": [1]}}, AS_CAME, "'posterior' of data set .* is missing"),
        ({"labels": {**LABELS, "posterior": [2]}}, AS_CAME, "becomes two labels"),
        (
            {"labels": {**LABELS, "Liver": [3]}},
            AS_CAME,
            "init: labels: no label of data set .* named 'Liver'",
        ),
        (
            {"labels": {**LABELS, "posterior": ["liver"]}},
            AS_CAME,
            "or give the class by its number",
        ),
        ({"labels": {**LABELS, "posterior": [6]}}, AS_CAME, "class 6 is beyond the 6"),
        ({"labels": {"anterior": [], "posterior": []}}, AS_CAME, "no class of the weights becomes"),
        ({"labels": LABELS}, {}, "scored without fine-tuning; write 'finetune: "),
        ({}, AS_CAME, "last layer has 6 classes, the task has 3"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_a_line(
    init, finetune, says, thin, monkeypatch, tmp_path, capsys
):
    preset = Preset(PlainUNetSize(outside_weights.THIN), (64,) * 3, 0, 0, 0, 0)
    monkeypatch.setitem(CATALOG["plain_unet"].presets, "thin", preset)
    of_nnunet(tmp_path)
    stated = {"file": "w.pth", "recipe": "other", **init}
    path = protocol(tmp_path, "plain_unet", "thin", stated, **finetune)
    assert re.search(
        says, refusal(capsys, "run", path, "--out", tmp_path / "out", "--workers", "1")
    )


@pytest.mark.parametrize(
    ("weights", "network", "preset", "says"),
    [
        (
            "ct_fm",
            "segresnet_ds",
            "base_spl",
            "cannot be scored without training: bench reads no output layer",
        ),
        ("stunet", "stunet", "small", "without training, use network stunet_released"),
        ("suprem_unet", "genesis_unet3d", "base", "without training, use network suprem_unet"),
    ],
)
def test_weights_that_cannot_be_scored_as_they_came_are_refused_with_the_reason(
    weights, network, preset, says, tmp_path, capsys
):
    torch.save({}, tmp_path / "w.pth")  # is not looked at
    path = protocol(
        tmp_path,
        network,
        preset,
        {"file": "w.pth", "weights": weights, "labels": LABELS},
        **AS_CAME,
    )
    assert f"weights {weights} {says}" in refusal(
        capsys, "run", path, "--out", tmp_path / "out", "--workers", "1"
    )
