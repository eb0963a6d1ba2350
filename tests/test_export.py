"""``bench export``: a finished job's weights as a file, and a row that starts from it as from the job."""

import json
import shlex
import shutil

import pytest
import reliability
import torch
import yaml
from described import describe, execute
from one_line import refusal, refused
from small_protocol import NAME, cell

from bench import digest, nets, records, run
from bench.cli import main
from bench.export import export, is_nnunets, weights_of
from bench.jobs.context import Context
from bench.jobs.finetune import run as finetuning
from bench.nets import controls, transfer
from bench.random import torch_seed
from bench.record import frame
from bench.row_weights import find
from bench.show import gather
from bench.show.labels import remember
from bench.show.status import as_text, status
from bench.store import Store

SMOKE = yaml.safe_load(reliability.SMOKE.replace("steps: 40", "steps: 3"))
SMOKE["rows"]["early"] = {**SMOKE["rows"]["simclr3d"], "at": 2}
SMOKE["pretrain"]["snapshots"] = [2]
SMOKE["finetune"][0]["fractions"] = [100]
SMOKE["controls"] = ["random", "shuffled"]


class Made:
    """Protocols and one output folder, whose jobs are done here and now."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder / "out"

    def plan(self, name, **changes):
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**SMOKE, **changes}))
        request = run.Request((path,), self.out)
        self.store = Store.open(self.out)
        return run.make_plan(request, request.read(), need_data=True)

    def done(self, name, **changes):
        plan = self.plan(name, **changes)
        jobs = run.todo(plan, self.store)
        describe(plan, self.store, jobs)
        for job in jobs:
            outcome = execute(str(self.out), job)
            assert outcome.state == "done", outcome.reason
        self.did = [plan.jobs[job].kind for job in jobs]
        return plan

    def weights(self, job, name="last"):
        return transfer.read(self.store.jobs / job / f"{name}.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = Made(tmp_path_factory.mktemp("made"))
    here.first = here.done("first")
    return here


def begun(*files):
    """Return the row from scratch, and rows a, b and so on that start from files."""
    row = SMOKE["rows"]["simclr3d"]
    named = {name: {**row, "init": file} for name, file in zip("ab", files, strict=False)}
    return {"scratch": SMOKE["rows"]["scratch"], **named}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


# From a job to a file and back


def test_a_row_from_the_exported_file_gets_the_weights_that_it_got_from_the_job(made):
    pair, early, mixed = (
        cell(made.first, row=r) for r in ("simclr3d", "early", "simclr3d (shuffled)")
    )
    said = export(made.store, pair.pretrain[:6], made.folder / "last.safetensors", "safetensors")
    assert "unet3d/tiny" in said and said.endswith(f"of pretrain {pair.pretrain}")
    said = export(made.store, f"{pair.pretrain}@2", made.folder / "two.safetensors", "safetensors")
    assert said.endswith(f"of pretrain {pair.pretrain} at step 2")
    second = made.done("second", rows=begun("last.safetensors", "two.safetensors"))
    assert set(made.did) == {"finetune", "evaluate"}  # no pretraining, and nothing of scratch again
    for row, before in (("a", pair), ("b", early), ("a (shuffled)", mixed)):
        found = cell(second, row=row)
        assert found.finetune != before.finetune
        (now, manifest), (then, old) = made.weights(found.finetune), made.weights(before.finetune)
        assert equal(now, then) and (manifest.method, manifest.crop) == (old.method, old.crop)
        assert found.columns["init"].startswith("file:") and found.columns["pretrain"] == "file"
    assert not equal(made.weights(pair.finetune)[0], made.weights(early.finetune)[0])
    assert cell(second, row="a (random)").finetune == cell(made.first, row="scratch").finetune
    table = records.collect(second, made.store, "second")
    rows = (f"{r}{c}" for r in "ab" for c in ("", " (random)", " (shuffled)"))
    assert set(table["row"]) == {"scratch", *rows}
    taken = table[table["row"] == "a"]
    assert taken["init"].str.fullmatch("file:[0-9a-f]{64}").all()
    assert set(taken["method"]) == {"simclr3d"}
    assert made.store.manifest(cell(second, row="a").finetune)["receipt"]["share"] == 1.0


def initial(made, row):
    """Return the weights with which a row's fine-tuning begins, and its job's spec."""
    job = made.first.jobs[cell(made.first, row=row).finetune]
    claim = type("Claim", (), {"job": job.id})
    context = Context(made.store, claim, job, {}, made.folder)
    return finetuning.build(context)[0].state_dict(), job.spec


def test_a_control_begins_with_what_its_name_says(made):
    scratch, _ = initial(made, "scratch")
    random, _ = initial(made, "simclr3d (random)")
    pretrained, _ = initial(made, "simclr3d")
    mixed, spec = initial(made, "simclr3d (shuffled)")
    assert equal(scratch, random) and not equal(scratch, pretrained)
    given, _ = made.weights(cell(made.first, row="simclr3d").pretrain, "weights")
    expected = controls.shuffled(given, torch_seed(spec.seed, "shuffled"))
    assert all(torch.equal(mixed[k], expected[k]) for k in expected)
    rest = [k for k in mixed if k not in expected]
    # the decoder is everybody's
    assert rest and all(torch.equal(mixed[k], scratch[k]) for k in rest)


def test_a_fine_tuned_network_is_exported_whole(made):
    tuned = cell(made.first, row="simclr3d").finetune
    to = made.folder / "tuned.safetensors"
    said = export(made.store, tuned, to, "safetensors")
    assert said.endswith(f"of finetune {tuned}, weights 'last': which its table scores")
    tensors, manifest = transfer.read(to)
    assert equal(tensors, made.weights(tuned)[0])
    channels = manifest.in_channels, manifest.out_channels
    network = nets.network(manifest.network, manifest.preset, *channels)
    network.load_state_dict(tensors)


@pytest.mark.parametrize(
    ("asked", "name", "said"),
    [
        ("", "best_val", "weights 'best_val': which its table scores"),
        ("@best_val", "best_val", "weights 'best_val': which its table scores"),
        ("@last", "last", "weights 'last': its table scores 'best_val'"),
    ],
)
def test_the_weights_that_were_scored_are_exported_unless_others_are_named(
    made, tmp_path, asked, name, said
):
    shutil.copytree(made.out, tmp_path / "out")
    store, tuned = Store(tmp_path / "out"), cell(made.first, row="simclr3d").finetune
    folder = store.jobs / tuned
    manifest = store.manifest(tuned)
    manifest["spec"]["finetune"]["select"] = "best_val"
    manifest["selected_step"] = 2
    tensors, about = transfer.read(folder / "last.safetensors")
    transfer.save(folder / "best_val.safetensors", {k: v + 1 for k, v in tensors.items()}, about)
    (folder / "manifest.json").write_text(digest.sealed(folder, manifest))
    to = tmp_path / "x.safetensors"
    assert said in export(store, f"{tuned}{asked}", to, "safetensors")
    assert equal(transfer.read(to)[0], transfer.read(folder / f"{name}.safetensors")[0])
    assert transfer.read(to)[1].step == {"best_val": 2, "last": 3}[name]


def older(store, job):
    """Let a job's record be one of a version that did not note labels."""
    folder, manifest = store.jobs / job, store.manifest(job)
    assert manifest.pop("labels") and manifest.pop("files")
    (folder / "manifest.json").write_text(digest.sealed(folder, manifest))


@pytest.mark.parametrize("noted", [True, False])
def test_the_manifest_tells_the_parameters_as_they_ran_the_step_and_the_labels(
    made, tmp_path, noted
):
    shutil.copytree(made.out, tmp_path / "out")
    store, pair = Store(tmp_path / "out"), cell(made.first, row="simclr3d")
    params = store.manifest(pair.pretrain)["spec"]["method"]["params"]
    labels = ("background", "anterior", "posterior")
    if not noted:
        older(store, pair.finetune)
    for job, step, named in (
        (pair.pretrain, 3, ()),
        (f"{pair.pretrain}@2", 2, ()),
        (pair.finetune, 3, labels),
    ):
        to = tmp_path / f"{job}.safetensors"
        export(store, job, to, "safetensors")
        _, manifest = transfer.read(to)
        assert (manifest.method, manifest.params) == ("simclr3d", params) and params
        assert (manifest.step, manifest.labels) == (step, named)


def test_an_existing_file_stays_and_none_is_left_half(made, tmp_path):
    job = cell(made.first, row="early").pretrain
    kept = tmp_path / "x.safetensors"
    kept.write_bytes(b"old")
    link = tmp_path / "link.safetensors"
    link.symlink_to(tmp_path / "nowhere")
    for to in (kept, link):
        with refused("exists already; name another file, or remove this one first"):
            export(made.store, job, to, "safetensors")
    assert kept.read_bytes() == b"old"
    plans = tmp_path / "plans"
    plans.mkdir()
    (plans / "nnUNetPlans.json").write_text('{"configurations": {"3d_fullres": {}}}')
    (plans / "benchPlans.json").write_text("old")
    with refused(r"benchPlans\.json: exists already; name another file"):
        export(made.store, job, tmp_path / "z.pth", "nnunet", theirs=plans / "nnUNetPlans.json")
    assert (plans / "benchPlans.json").read_text() == "old"
    export(made.store, job, tmp_path / "y.safetensors", "safetensors")
    assert {p.name for p in tmp_path.iterdir()} == {kept.name, link.name, "y.safetensors", "plans"}


# Mistakes


LACKING = {  # what is asked for, of a row's cell: what is said
    "0123456789abcdef": "no finished job has an id that begins with this; 'bench plan PROTOCOL --json' lists",
    "first": "first: no finished job has an id that begins with this",
    **dict.fromkeys(
        ("", "*", "../out", "a" * 300), "no finished job has an id that begins with this"
    ),
    "{0.evaluate}": "job {0.evaluate} is one of kind evaluate, which has no weights",
    "{0.pretrain}@3": "no such weights; the job has weights-2.safetensors, weights.saf",
    "{0.pretrain}@x": "no such weights",
    "{0.finetune}@../{0.pretrain}/weights": "no such weights; the job has last.saf",
    "{0.pretrain}@2.safetensors/../weights-2": "no such weights",
    "{0.finetune}@best_val": "no such weights; the job has last.safetensors",
}


@pytest.mark.parametrize(("asked", "message"), LACKING.items())
def test_a_job_that_has_no_weights_to_give(made, asked, message, tmp_path):
    pair = cell(made.first, row="simclr3d")
    with refused() as told:
        export(made.store, asked.format(pair), tmp_path / "x.safetensors", "safetensors")
    assert message.format(pair) in str(told.value)
    assert not list(tmp_path.iterdir())


def test_the_weights_of_jobs_are_loaded_by_torch_and_by_monais_class(made, tmp_path):
    pair = cell(made.first, row="simclr3d")
    for job, parts in ((pair.pretrain, 5), (pair.finetune, 0)):
        to = tmp_path / f"{job}.pt"
        said = export(made.store, job, to, "monai").splitlines()
        assert said[1].startswith(f"{tmp_path / job}.json: ")
        assert "monai.networks.nets.BasicUNet(spatial_dims=3, in_channels=1, " in said[2]
        untrained = json.loads((tmp_path / f"{job}.json").read_text())["untrained"]
        assert len(untrained) == parts and len(said) == 5 - (not parts)
        to.unlink()
        with refused(rf"{job}\.json: exists already"):
            export(made.store, job, to, "monai")
        scope = {}
        _, *lines = export(made.store, job, to, "torch").splitlines()
        exec("\n".join(("import bench, torch", *lines)), scope)
        given = torch.load(to)
        assert equal({k: scope["net"].state_dict()[k] for k in given}, given)


def test_an_ambiguous_beginning_counts_the_jobs(made, tmp_path):
    store = Store.open(tmp_path / "out")
    for job in ("ab1", "ab2"):
        (store.jobs / job).mkdir()
    with refused("ab: 2 jobs have an id that begins with this"):
        export(store, "ab", tmp_path / "x", "safetensors")
    with refused("not finished"):  # a folder without a manifest
        export(store, "ab1", tmp_path / "x", "safetensors")


def test_a_damaged_job_or_weights_are_told(made, tmp_path):
    shutil.copytree(made.out, tmp_path / "out")
    store, job = Store(tmp_path / "out"), cell(made.first, row="simclr3d").pretrain
    weights = store.jobs / job / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with refused(r"weights\.safetensors: damaged \(its digest is another\)"):
        export(store, job, tmp_path / "x.safetensors", "safetensors")
    (store.jobs / job / "manifest.json").write_text("{}")
    with refused("is one of kind unknown, which has no weights"):
        export(store, job, tmp_path / "x.safetensors", "safetensors")


FILES = {  # format and file: what is said
    "safetensors .": "is a folder; name a file in it",
    "safetensors w.pt": "written to a .safetensors file; name it w.safetensors, or --format nnunet or .*monai for .pt$",
    "safetensors w.npz": "written to a .safetensors file; name it w.safetensors$",
    "safetensors w": "name it w.safetensors$",
    "nnssl w.safetensors": "'nnssl' is written to a .pth or .pt file; name it w.pth, or --format safetensors",
    "nnunet w.safetensors": "format 'nnunet' is written to a .pth or .pt file; name it w.pth, or ",
    "safetensors file/x.safetensors": "cannot be written .* name another file",
    "nssl x.safetensors": "no format named 'nssl'; did you mean 'nnssl'",
    "nnssl x.pth": "nnU-Net cannot read network unet3d/tiny: it reads only resenc_unet/small, resenc_unet/base; "
    r"name it in the protocol \('bench init DIR --network resenc_unet' does\) and pretrain again",
}


@pytest.mark.parametrize("asked", FILES)
def test_a_file_or_format_that_cannot_be(made, asked, tmp_path):
    (format, to), message = asked.split(), FILES[asked]
    (tmp_path / "file").write_bytes(b"")
    with refused(message):
        export(made.store, cell(made.first, row="simclr3d").pretrain, tmp_path / to, format)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_exports_and_exits_2_with_one_line(made, tmp_path, capsys):
    job, to = cell(made.first, row="simclr3d").pretrain, tmp_path / "new" / "x.safetensors"
    assert main(["export", job[:8], "--to", str(to), "--out", str(made.out)]) == 0
    assert capsys.readouterr().out.startswith(f"{to}: unet3d/tiny, ") and to.is_file()
    to.unlink()
    for wrong in (("zz", to, made.out), (job, tmp_path, made.out), (job, to, tmp_path / "none")):
        name, file, out = map(str, wrong)
        assert refusal(capsys, "export", name, "--to", file, "--out", out).startswith("bench: ")


# By the name of a row


@pytest.fixture(scope="module")
def several(made):
    """An output folder with records: two seeds, each with a pretraining of its own, and two fractions."""
    finetune = [{**SMOKE["finetune"][0], "fractions": [50, 100], "seeds": [0, 1]}]
    pretrain = {**SMOKE["pretrain"], "seeds": "paired"}
    plan = made.done("several", finetune=finetune, pretrain=pretrain, controls=[])
    store = Store(made.folder / "named")
    shutil.copytree(made.out, store.root)
    records.save(records.collect(plan, store, "several"), store, "several")
    return plan, store


NAMED = {  # row and --only: its cell's job and snapshot
    ("simclr3d", ("seed=1",)): ({"seed": 1}, "pretrain", ""),
    ("early", ("pretrain_seed=0",)): ({"seed": 0}, "pretrain", "@2"),
    ("simclr3d@2", ("seed=0",)): ({"seed": 0}, "pretrain", "@2"),
    ("scratch", ("seed=1", "fraction=50")): ({"seed": 1, "fraction": 50}, "finetune", ""),
    ("simclr3d", ("seed=0", "fraction=100", "kind=finetune")): (
        {"seed": 0, "fraction": 100},
        "finetune",
        "",
    ),
}


def by_key(texts):
    return {key: [value] for key, _, value in (text.partition("=") for text in texts)}


@pytest.mark.parametrize("asked", NAMED, ids=lambda a: " ".join((a[0], *a[1])))
def test_a_row_name_and_flags_pick_the_weights_of_a_job(several, asked):
    plan, store = several
    (name, texts), (columns, kind, step) = asked, NAMED[asked]
    row = name.partition("@")[0]
    cells = [c for c in plan.cells["several"] if c.row == row]
    (job,) = {
        getattr(c, kind) for c in cells if columns.items() <= {**c.columns, "row": row}.items()
    }
    assert weights_of(store, name, by_key(texts)) == weights_of(store, f"{job}{step}")


UNNAMED = {  # row and --only: what is said; {0} and {1} are the pretrainings of seeds 0 and 1
    "simclr3d": r"^row 'simclr3d' has 2 pretrainings; choose one by its flags or by its job id: "
    r"--only seed=0 \(job {0}\); --only seed=1 \(job {1}\)$",
    "scratch seed=0": "has 2 fine-tunings; .*--only fraction=50 .*; --only fraction=100 ",
    "simclr": "^simclr: no finished job has an id that begins with this; no row named 'simclr'; "
    "did you mean 'simclr3d'",
    "simclr3d seed=7": "^--only seed=7: row 'simclr3d' has seed 0, 1$",
    "simclr3d sed=1": "^--only sed=: no key named 'sed'; did you mean 'seed'",
    "simclr3d kind=prepare": "^--only kind=prepare: take one of pretrain, finetune$",
    "scratch kind=pretrain": "^--only kind=pretrain: row 'scratch' runs no pretraining; name another row or kind$",
    "{0} seed=0": "^--only: picks among the jobs of a row, and {0} is one job; leave it out$",
}


@pytest.mark.parametrize("asked", UNNAMED)
def test_a_row_that_names_no_job_or_several_is_one_line(several, asked):
    plan, store = several
    jobs = [cell(plan, row="simclr3d", seed=s, fraction=50).pretrain for s in (0, 1)]
    name, *texts = asked.format(*jobs).split()
    with refused(UNNAMED[asked].format(*jobs)):
        weights_of(store, name, by_key(texts))


@pytest.fixture
def second(several, tmp_path):
    """The same folder after a run at pilot scale that was stopped at once, and the row's pretrainings."""
    plan, store = several
    shutil.copytree(store.root, tmp_path / "second")
    store = Store(tmp_path / "second")
    records.keep(store, "several", "pilot")
    records.save(frame([]), store, "several")
    return store, [cell(plan, row="simclr3d", seed=s, fraction=50).pretrain for s in (0, 1)]


def test_a_second_scale_hides_no_row_and_no_second_copy_stays(second, several):
    store, jobs = second
    assert weights_of(store, "simclr3d", by_key(["seed=1"])).parent.name == jobs[1]
    aside = records.folder_of(store, "several", "smoke")
    assert aside == store.root / "records/scales/smoke"
    assert records.folder_of(store, "several", "pilot") == store.root / "records"
    records.keep(store, "several", "smoke")
    assert not [*aside.glob("*.*")] and records.folder_of(store, "several", "smoke") != aside


def test_a_row_that_no_records_name_is_found_in_the_notes_of_its_plan(second, several):
    store, jobs = second
    shutil.rmtree(store.root / "records")
    (store.root / "records").mkdir()
    remember(several[0], store)
    assert weights_of(store, "early", by_key(["seed=1"])).parent.name == jobs[1]
    with refused("'simclr3d' has 2 pretrainings; choose one by its flags"):
        weights_of(store, "simclr3d")


def test_of_a_row_with_several_jobs_those_that_the_format_holds_are_taken(second):
    store, jobs = second
    manifest = store.manifest(jobs[1])
    manifest["spec"]["network"] |= {"network": "resenc_unet", "preset": "base"}
    folder = store.jobs / jobs[1]
    (folder / "manifest.json").write_text(digest.sealed(folder, manifest))
    weights, which = find(store, "simclr3d", {}, lambda job: is_nnunets(store, job))
    assert weights == jobs[1] and which.startswith(
        "row 'simclr3d' at scale smoke; 1 of its pretrainings left out"
    )
    with refused(r"^nnU-Net cannot read .* only .*; name it in the .* again$"):
        export(store, "simclr3d", store.root / "x.pth", "nnunet")  # the file is another network's


def test_a_dose_of_a_ceiling_has_no_file_of_its_own(second):
    store, _ = second
    for folder in store.jobs.iterdir():
        manifest = store.manifest(folder.name)
        if manifest["kind"] == "finetune":
            manifest["spec"]["dose"] = 0.25
            (folder / "manifest.json").write_text(digest.sealed(folder, manifest))
    with refused(r"'simclr3d' starts from 25 % of the weights of job .* and"):
        find(store, "simclr3d", {})


def test_a_row_whose_jobs_are_elsewhere_is_told(several, tmp_path):
    _, store = several
    bare = Store.open(tmp_path / "bare")
    shutil.copytree(store.root / "records", bare.root / "records", dirs_exist_ok=True)
    with refused("has no pretrainings in this folder: its scores"):
        weights_of(bare, "simclr3d")


def test_page_and_status_name_the_pretrainings_and_a_command_that_works(
    several, tmp_path, monkeypatch
):
    plan, store = several
    by_seed = [cell(plan, row="simclr3d", seed=s, fraction=50).pretrain for s in (0, 1)]
    (protocol,) = run.Request((store.root.parent / "several.yaml",), store.root).read()
    lead, *lines = gather.weights(protocol, plan, store)
    assert "add --out DIR" in lead
    of_row = dict(line.split(": ", 1) for line in lines)
    assert of_row.keys() == {"simclr3d", "early"}
    jobs, _, command = of_row["simclr3d"].partition("; ")
    assert jobs == "jobs {} (seed 0), {} (seed 1)".format(*by_seed)
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(command)[1:], "--out", str(store.root)]) == 0
    remember(plan, store)
    text = as_text(status(store), "out").splitlines()
    assert f"pretrained: pretrain early, simclr3d · {NAME} · seed 1 ({by_seed[1]})" in text
    (command,) = (line for line in text if line.startswith("their weights: bench export "))
    assert command.split()[4] in {job[:8] for job in by_seed} and " --out out " in command


# A file that is not what it was


def test_a_file_of_another_kind_fails_its_own_row_with_a_reason(made):
    (made.folder / "junk.safetensors").write_bytes(b"junk")
    plan = made.plan("junk", rows=begun("junk.safetensors"), controls=[])
    found = cell(plan, row="a")
    describe(plan, made.store, [found.finetune])
    outcome = execute(str(made.out), found.finetune)
    assert outcome.state == "failed" and "junk.safetensors: cannot be read" in outcome.reason
    assert (
        json.loads((made.store.work / found.finetune / "failed.json").read_text())["kind"]
        == "mistake"
    )
    table = records.collect(plan, made.store, "junk")
    assert set(table[table["row"] == "a"]["status"]) == {"failed"}
    assert "failed" not in set(table[table["row"] == "scratch"]["status"])


def test_a_file_that_changed_after_the_plan_is_refused(made):
    file = made.folder / "changing.safetensors"
    export(made.store, cell(made.first, row="simclr3d").pretrain, file, "safetensors")
    # what another test has done is not done again
    unseen = [{**SMOKE["finetune"][0], "seeds": [5]}]
    plan = made.plan("changing", rows=begun(file.name), controls=[], finetune=unseen)
    found = cell(plan, row="a")
    describe(plan, made.store, [found.finetune])
    tensors, manifest = transfer.read(file)
    transfer.save(file, {k: v + 1 for k, v in tensors.items()}, manifest)
    outcome = execute(str(made.out), found.finetune)
    assert outcome.state == "failed" and "changed since it was planned" in outcome.reason
