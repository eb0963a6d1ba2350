"""Every sentence beside a table is true of each of its rows."""

import re
from dataclasses import replace

import pytest

from bench.protocol import Finetune, Layout, Pretrain, Row, View
from bench.protocol.sections import Augment, Group, Mix, Tune
from bench.report import settings_tables
from bench.report.supplement import (
    Cost,
    Course,
    DatasetInfo,
    Extras,
    Failure,
    ImportedCell,
    Pretraining,
)
from bench.report.text import _md_table
from bench.report.write import context_of, write

RECIPE = {"batch": 2, "optimiser": "adamw", "lr": 1e-3, "schedule": "cosine", "precision": "fp32"}
PRETRAINED = {"pretrain": "organs", "init": "job:" + "1" * 16}


def pretraining(rows, cases, steps=(16, 16), **more):
    return Pretraining(tuple(rows), ("organs",), cases, steps, **RECIPE, **more)


def block(text, heading):
    """Return the lines under one heading of table.md, without what Markdown escapes."""
    after = text.partition(f"### {heading}\n")[2].partition("\n###")[0]
    return [re.sub(r"\\(.)", r"\1", line.removeprefix("- ")) for line in after.strip().splitlines()]


def table(text, heading):
    """Return the cells of each line of the table under one heading of table.md, head and rule left out."""
    lines = [line for line in block(text, heading) if line.startswith("|")]
    return [tuple(cell.strip() for cell in line[1:-1].split("|")) for line in lines[2:]]


@pytest.fixture
def written(tmp_path):
    """Return a function from protocol, records and extras to table.md and the page."""

    def build(protocol, table, **extras):
        paths = write(protocol, table, tmp_path, Extras(**extras), figures=False)
        return paths.markdown.read_text(), paths.page.read_text()

    return build


@pytest.fixture
def four(protocol):
    """Four rows, two of which share a pretraining."""
    rows = {
        "a": Row("scratch", "net", title="A"),
        "b": Row("voco", "net", title="B"),
        "c": Row("voco", "net", title="C"),
        "d": Row("voco", "net", title="D", init="away/given.pth"),
    }
    mixture = Pretrain(datasets=(Mix("organs"), Mix("brains")), steps=2000)
    return protocol(rows=rows, pretrain=mixture)


def test_what_each_row_was_pretrained_on_is_said_by_row(four, records, written):
    rows = records(
        {"row": "a"},
        {"row": "b", **PRETRAINED},
        {"row": "b (last)", **PRETRAINED},
        {"row": "c", **PRETRAINED},
        {"row": "d", "pretrain": "file", "init": "file:" + "ab" * 32},
    )
    done = (
        pretraining(["b", "b (last)"], (10, 10), unlabelled=(3, 3)),
        pretraining(["c"], (39, 41), (100, 100), unlabelled=(0, 2)),
    )
    text, _ = written(four, rows, pretrainings=done)
    recipe = ("2", "adamw", "0.001", "cosine", "fp32")
    file = "not pretrained here; the weights are from the file given.pth (SHA-256 abababababab)"
    assert table(text, "What each row was pretrained on") == [
        ("A", "not pretrained", *[""] * 7),
        ("B; B (last)", "organs", "10, 3 of them unlabelled", "16", *recipe),
        ("C", "organs", "39 to 41, 0 to 2 of them unlabelled", "100", *recipe),
        ("D", file, *[""] * 7),
    ]
    assert "2000 steps" not in text  # of the protocol, and of none of these rows
    # facts of jobs
    without, _ = written(
        four, records({"row": "b", **PRETRAINED, "init": PRETRAINED["init"] + "@500"})
    )
    expected = [("B", "organs, weights after step 500")]
    assert table(without, "What each row was pretrained on") == expected


def test_notes_assumptions_and_deviations_stand_apart(protocol, records, written):
    stated = {"notes": ("read this",), "assumed": ("a rate of 1",), "deviations": ("another net",)}
    text, _ = written(
        protocol(paper="voco", scale="pilot", scales={"pilot": {}}, **stated), records({})
    )
    assert block(text, "Notes of the paper scale") == ["read this"]
    unlike = block(text, "Deviations and assumptions of the paper scale")
    assert unlike == ["Deviation: another net", "Assumed: a rate of 1"]
    assert "assumptions" not in written(protocol(notes=("read this",)), records({}))[0]


def test_metrics_of_lesions_say_what_a_lesion_and_a_match_are(protocol, records, written):
    for metric, says in (("lesion_recall@0-1ml", True), ("dice", False)):
        text, _ = written(protocol(metrics=(metric,)), records({"metric": metric}))
        assert ("26 neighbours" in text and "IoU of 0.5 or more" in text) == says


def test_names_in_a_view_that_no_section_has_are_said(protocol, records, written):
    views = (
        View(title="Few labels", fractions=(30, 100)),
        View(lines=("target",), columns=("row",), targets=("lvier", "mean")),
        View(targets=("liver",)),
    )
    text, _ = written(
        protocol(layout=Layout(views=views)), records({"target": "liver"}, {"target": "spleen"})
    )
    said = [line for line in block(text, "How to read the numbers") if line.startswith("View")]
    assert said == [
        "View 1 of the layout (“Few labels”) names fractions that its sections do not have: 30. They have 100.",
        "View 2 of the layout names targets that its sections do not have: lvier. They have liver, mean, spleen.",
    ]


def test_one_seed_has_no_spread_and_one_case_no_plural(protocol, records, written):
    seeds = protocol(
        finetune=(Finetune(dataset="organs", split="rule", steps=10, seeds=(0, 1, 2)),)
    )
    text, page = written(seeds, records({}))
    assert table(text, "Data and splits")[0][3:] == ("1", "1", "20 at 100 %", "0")
    assert "1 run, 1 patient, 1 case, 1 value, 0 undefined" in page
    assert "<dt>Fine-tuning seeds</dt><dd>1</dd>" in page
    assert not [line for line in block(text, "How to read the numbers") if "±" in line]
    text, page = written(seeds, records({}, {"seed": 2}))
    assert (
        table(text, "Data and splits")[0][-1] == "0, 2"
        and "<dt>Fine-tuning seeds</dt><dd>2</dd>" in page
    )
    assert [line for line in block(text, "How to read the numbers") if "±" in line]


def test_a_job_that_failed_behind_four_cells_is_one(four, records, written):
    behind = [
        Failure("j1", row, "no memory", "log", "organs", 100, seed)
        for row in "bc"
        for seed in (0, 1)
    ]
    _, page = written(four, records({"row": "a"}), failures=tuple(behind))
    assert "1 failed job<" in page and page.count(">j1<") == 1
    cell = re.search(r'<th scope="row">(B: .*?)</th>', page)[1]
    assert cell.split("; ") == [f"{t}: organs, 100 %, seed {s}" for t in "BC" for s in (0, 1)]


def test_a_scale_is_named_only_where_there_are_scales(protocol, records, written):
    unscaled = protocol(scale="paper")
    rows = records({"scale": "paper"})
    assert "paper scale" not in "".join(written(unscaled, rows))
    assert all(
        "paper scale" in text for text in written(replace(unscaled, scales={"smoke": {}}), rows)
    )
    assert all("pilot scale" in text for text in written(protocol(), records({})))


def test_synthetic_data_says_so_in_every_title_and_note(protocol, records, written):
    title = "Synthetic scans in the layout of Organs"
    info = DatasetInfo("organs", title, synthetic=True, redistribution=True)
    text, page = written(protocol(), records({}), datasets=(info,))
    assert text.startswith("# Test table \\[pilot scale, synthetic data\\]")
    assert f"## Dice, {title}" in text and f"{title}: made by bench, not scanned" in text
    assert 'Test table <span class="phantoms">(synthetic data)</span></h1>' in page
    assert "synthetic" not in "".join(written(protocol(), records({}))).lower()
    two = tuple(Finetune(dataset=name, split="rule", steps=10) for name in ("organs", "brains"))
    text, _ = written(protocol(finetune=two), records({}), datasets=(info,))
    assert text.startswith("# Test table \\[pilot scale, partly synthetic data\\]")


@pytest.mark.parametrize("synthetic", [True, False])
def test_of_scans_that_a_split_may_divide_every_page_says_so(protocol, records, written, synthetic):
    name = "msd04_hippocampus"
    study = protocol(finetune=(Finetune(dataset=name, split="rule", steps=10),))
    info = DatasetInfo(name, "Hippocampi", synthetic=synthetic)
    text, page = written(study, records({"dataset": name, "section": name}), datasets=(info,))
    said = "Crops 1 and 2 are cut from one scan"
    assert (said in text, said in page.partition("<nav")[0]) == (not synthetic,) * 2


def test_what_the_command_line_changed_is_said_and_parameters_are_those_that_ran(
    four, records, written
):
    changed = replace(four, rows={"b": replace(four.rows["b"], params={"queue": 4})})
    text, _ = written(
        changed, records({"row": "b", "params": "{}"}), overrides=("finetune.batch=1",)
    )
    (note,) = [line for line in block(text, "Training") if "--set" in line]
    assert note == "Changed on the command line: --set finetune.batch=1."
    assert "queue" not in text
    assert "queue = 4" in written(changed, records({"row": "a"}))[0].replace("\\", "")


def test_memory_that_is_not_known_is_not_printed(protocol, records, written):
    costs = (
        Cost("b", "pretrain", 10.0, None),
        Cost("b", "finetune", 10.0, 760.0, device_mb=5120.0),
    )
    text, _ = written(protocol(), records({}), costs=costs)
    assert "760 MB; 5,120 MB on the GPU" in text
    (unknown,) = [line for line in text.splitlines() if "| pretrain |" in line]
    assert unknown.split("|")[4].strip() == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ""),
        ({"exclude": ("doubtful",)}, "without the cases that the data set marks as doubtful."),
        ({"exclude": ("c8", "c9")}, "without c8, c9."),
        ({"exclude": tuple(f"c{n}" for n in range(12))}, "c9 and 2 more."),
        ({"where": {"group": "HF"}, "exclude": ("c8",)}, "only cases with group = HF; without c8."),
    ],
)
def test_the_page_says_which_cases_a_section_leaves_out(protocol, records, given, said):
    section = replace(protocol().finetune[0], **given)
    report = context_of(protocol(finetune=(section,)), records({}), Extras())
    caption = settings_tables.splits(report, records({})).caption
    assert said in caption and ("organs: " in caption) == bool(said)


def test_the_table_of_fine_tunings_has_each_row_where_it_trains_and_what_parts_the_sections(
    protocol, records
):
    one = replace(protocol().finetune[0], name="one", title="One")
    two = replace(one, name="two", title="Two", augment=Augment(flip=0.5), clip=1.0)
    last = replace(two, name="last", title="Last", evaluation="as_loaded", norm="kept")
    rows = {**protocol().rows, "c": Row("voco", "net", title="C", finetune={"batch": 4})}
    rows["c"] = replace(rows["c"], sections=("one", "last"))
    report = context_of(
        protocol(finetune=(one, two, last), rows=rows), records({"section": "one"}), Extras()
    )
    text = _md_table(settings_tables.finetuned(report))
    head, _, *lines = ([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines())
    ways = {line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in lines if line[1] != "C"}
    assert [line[:2] for line in lines] == [
        ["One", "other rows"],
        ["One", "C"],
        ["Two", "all"],
        ["Last", "other rows"],
        ["Last", "C"],
    ]
    assert [way["Augmentation"] for way in ways.values()] == ["none", "flip 0.5", "flip 0.5"]
    assert ways["One"]["Gradients"] == "not clipped"
    assert ways["Two"]["Gradients"] == "norm clipped at 1"
    assert "Loaded norm layers" not in head  # nothing trains in the section that keeps them


@pytest.mark.parametrize(("copied", "says"), [(0, ""), (1, " Not counted: 1 copied run."), (2, "")])
def test_choices_say_how_many_runs_they_do_not_count(four, records, written, copied, says):
    """Those of a row that was wholly copied are of the runs there."""
    ran = [Course("a", "organs", 100, seed, (1.0,), (0.5,)) for seed in (0, 1)]
    others = tuple(ImportedCell("a", "organs", 100, 0, 0, seed, "there") for seed in range(copied))
    others += (ImportedCell("a", "untuned", 100, 0, 0, 0, "there"),)  # chooses nothing
    tuned = replace(four.finetune[0], title="All organs", tune=Tune(over={"rate": (1e-3, 2e-3)}))
    text, _ = written(
        replace(four, finetune=(tuned,)),
        records({}),
        choices={"a": "chose. Section “organs”, 100 %: one"},
        courses=tuple(ran),
        taken=others,
    )
    assert f"- “A” chose. “All organs”, 100 %: one.{says}\n" in text
    assert "learning rate chosen by each row" in text or "| chosen by each row" in text


def test_a_dose_says_what_share_of_it_is_pretrained(protocol, records, written):
    """And the table names of each what the ceiling was pretrained on, but of none of what is random."""
    ceiling = Row("supervised", "net", ceiling=True, params={"labels": "own"}, title="Top")
    rows = {"a": Row("scratch", "net"), "top": ceiling}
    rows |= {f"d{d}": replace(ceiling, dose=d, title=f"Dose {d:g}") for d in (0.0, 0.25)}
    told = "the weights are pretrained by supervised; 5 tensors are loaded"
    text, _ = written(
        protocol(rows=rows),
        records(*({"row": row, **PRETRAINED} for row in list(rows)[1:])),
        receipts=dict.fromkeys(list(rows)[1:], told),
        pretrainings=(pretraining(["top"], (7, 7)),),
    )
    lines = block(text, "What fine-tuning starts from")
    assert "“Top”: " + told + "." in lines
    assert "“Dose 0”: nothing of a pretraining is kept." in lines
    quarter = "“Dose 0.25”: 25 % of each weight is pretrained by supervised, the rest is random; 5 tensors"
    assert any(line.startswith(quarter) for line in lines)
    on = {line[0]: line[1:3] for line in table(text, "What each row was pretrained on")}
    assert on["Top; Dose 0.25"] == ("organs", "7") and on["Dose 0"] == ("not pretrained", "")


@pytest.mark.parametrize(
    ("changes", "drifts"),
    [
        ({}, False),
        ({"norm": "kept"}, True),
        ({"norm": "kept", "loaded": Group(rate=1e-4)}, True),  # as the optimiser's
        ({"norm": "kept", "loaded": Group(rate=1e-5)}, False),
        ({"norm": "kept", "loaded": Group(frozen=1.0)}, False),
        ({"norm": "kept", "evaluation": "decoder"}, False),
        ({"norm": "kept", "evaluation": "as_loaded"}, False),
    ],
)
def test_kept_statistics_under_the_full_rate_are_pointed_out(
    four, records, written, changes, drifts
):
    text, _ = written(replace(four, finetune=(replace(four.finetune[0], **changes),)), records({}))
    assert ("“organs”: loaded batch norms keep their statistics while" in text) is drifts


@pytest.mark.parametrize(
    ("over", "runs", "on", "favoured"),
    [
        ({"loaded": ({}, {"rate": 1e-5}), "norm": ("batch", "kept")}, 2, "val", True),
        ({"loaded.rate": (1e-4, 1e-5)}, "others", "val", False),
        ({"loaded.rate": (1e-4, 1e-5)}, 1, "folds", False),
        ({"loaded.rate": (1e-4, 1e-5), "rate": (1e-3, 1e-4)}, 1, "val", False),  # scratch, too
    ],
)
def test_a_choice_that_scratch_has_not_is_pointed_out(
    four, records, written, over, runs, on, favoured
):
    tuned = replace(four.finetune[0], seeds=(0, 1), tune=Tune(over=over, runs=runs, on=on))
    text, _ = written(replace(four, finetune=(tuned,)), records({}))
    assert ("“organs”: scratch has only one of the recipes" in text) is favoured
