"""A protocol file: names, scales, budgets, baselines, and mistakes with their lines."""

import textwrap

import pytest
from one_line import refused

from bench.protocol import finetune_of, mistakes, pretrain_of, read, read_all, unread
from bench.protocol.comparable import unequal

TEXT = """\
title: Test
networks:
  net: {network: unet3d, preset: small, crop: [32, 32, 32]}
rows:
  alone: {method: scratch, network: net}
  pair:
    method: simclr3d
    network: net
pretrain:
  datasets: [{dataset: msd04_hippocampus}]
  epochs: 100
finetune:
  - dataset: msd04_hippocampus
    split: even
    steps: 6
    optimiser: {lr: 1e-3, weight_decay: 1}
scales:
  pilot:
    networks:
      net: {preset: tiny}
    pretrain:
      steps: 5
    finetune:
      steps: 3
"""


@pytest.fixture
def text_file(tmp_path):
    def write(text=TEXT, name="test.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


def line_of(text, part):
    return next(i for i, line in enumerate(text.splitlines(), 1) if part in line)


def test_the_papers_values_are_the_default_unless_the_file_names_a_scale(text_file):
    found = read(text_file())
    assert (found.scale, found.networks["net"].preset, found.pretrain.epochs) == (
        "paper",
        "small",
        100.0,
    )
    assert found.finetune[0].optimiser.lr == 1e-3
    assert type(found.finetune[0].optimiser.weight_decay) is float
    assert found.baseline == "scratch" and found.metrics == () and found.threads == 1
    path = text_file(TEXT + "scale: pilot\n")  # the file's own
    assert read(path).scale == "pilot" and read(path, "paper").pretrain.epochs == 100.0


def test_a_scale_lays_its_values_over_and_its_budget_replaces_the_papers(text_file):
    found = read(text_file(), "pilot")
    assert (found.scale, found.networks["net"].preset) == ("pilot", "tiny")
    assert found.networks["net"].crop == (32, 32, 32)
    assert (found.pretrain.steps, found.pretrain.epochs) == (5, None)
    assert found.finetune[0].steps == 3 and found.finetune[0].optimiser.lr == 1e-3


def test_a_name_is_the_key_or_the_path_under_protocols(text_file):
    assert read(text_file(name="x.yaml")).name == "x"
    assert read(text_file(name="protocols/voco/table1.yaml")).name == "voco_table1"
    assert read(text_file(name="protocols/pilot/hippocampus.yaml")).name == "pilot_hippocampus"
    assert read(text_file(TEXT + "name: mine\n", "protocols/voco/table1.yaml")).name == "mine"


def edit(old, new):
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def pair(line):
    return edit("    network: net\n", f"    network: net\n    {line}")


TWIN = """\
    steps: 6
    name: twin
  - dataset: msd04_hippocampus
    split: even
    steps: 9
    name: twin # 2
"""
SECOND = "    steps: 6\n  - {dataset: msd04_hippocampus, split: even, steps: 9, name: second}\n"


def narrowed(alone, pair):
    """Return the protocol with a second section, and what each row says of sections."""
    text = edit("    steps: 6\n    optimiser: {lr: 1e-3, weight_decay: 1}\n", SECOND)
    text = text.replace(
        "{method: scratch, network: net}", f"{{method: scratch, network: net{alone}}}"
    )
    return text.replace("    network: net\n", f"    network: net\n{pair}")


def quoted(what, name="q"):
    return f"paper: voco\ntable: table1\npublished_only:\n  {name}: {what}\nrows:\n"


def view(words):
    return edit("rows:\n", f"layout: {{views: [{words}]}}\nrows:\n")


LONG = "controls: [long]\n"
FIRST = "sections: [msd04_hippocampus]"
MISTAKES = [
    (edit("preset: small", "pre_set: small"), None, "pre_set", "did you mean 'preset'"),
    (edit("network: unet3d", "network: unet3"), None, "unet3,", "named 'unet3'; did you mean 'unet3d'"),
    (edit("preset: small", "preset: smal"), None, "smal,", "did you mean 'small'"),
    (edit("[32, 32, 32]", "[32, 32, 30]"), None, "32, 30]", "side z = 30 must be a multiple of 16"),
    (edit("network: net\n", "network: nat\n"), None, "network: nat", "did you mean 'net'"),
    (edit("simclr3d", "simclr"), None, "simclr", "no method named 'simclr'; did you mean 'simclr3d'"),
    (edit("    steps: 6\n", ""), None, "- dataset", "set the budget once"),
    (edit("epochs: 100", "epochs: 100\n  steps: 5"), None, "pretrain:", "set the budget once"),
    (edit("epochs: 100", "epochs: 0"), None, "epochs: 0", "epochs must be above 0"),
    (edit("lr: 1e-3", "lr: -1"), None, "lr: -1", "optimiser.lr must be above 0"),
    (edit("lr: 1e-3", "lr: .inf"), None, "lr: .inf", "above 0 and at most 1000, got inf"),
    (edit("epochs: 100", "epochs: 100\n  batch: 1e20"), None, "batch: 1e20", "expected a whole number"),
    (edit("epochs: 100", f"epochs: 100\n  batch: {10**20}"), None, "  batch: ", "batch must be above 0"),
    (edit("title: Test", "title: Test\nthreads: 0"), None, "threads: 0", "threads must be above 0"),
    (edit("split: even", "split: even\n    fractions: [0]"), None, "- dataset", "percents from 1 to 100"),
    (edit("split: even", "split: even\n    fractions: [0.1, 1.0]"), None, "fractions", "percents, got 0.1; write 10"),
    (edit("split: even", "split: even\n    fractions: [20%]"), None, "fractions", "percents, got '20%'; write 20"),
    (edit("split: even", "split: even\n    fractions: [0.125]"), None, "fractions", "; write 10 for 10 %"),
    (edit("split: even", "split: even\n    fractions: [25.0]"), None, "fractions", "got 25.0; write 25"),
    (view("{columns: [fraction], fractions: [0.1]}"), None, "layout", "fractions are whole percents, got 0.1"),
    (edit("split: even", "split: even\n    seeds: []"), None, "- dataset", "at least one value"),
    (edit("split: even", "split: even\n    seeds: [0, 1, 0]"), None, "- dataset", "seeds: list each value once"),
    (edit("split: even", "split: even\n    fractions: [5, 5]"), None, "- dataset", "fractions: list each"),
    (edit("split: even", "split: even\n    select: best"), None, "select", "last, best_val, best_test"),
    (edit("title: Test", "title: Test\npaper: voko"), None, "paper", "did you mean 'voco'"),
    (edit("  pilot:", "  pilots:"), None, "pilots", "no scale named 'pilots'; did you mean 'pilot'"),
    (edit("      steps: 3", "      stepz: 3"), "pilot", "stepz", "did you mean 'steps'"),
    (edit("      steps: 3", "      steps: many"), "pilot", "many", "expected a whole number"),
    (edit("      steps: 5", "      stops: 5"), "pilot", "stops", "did you mean 'steps'"),
    (edit("preset: tiny", "preset: tinny"), "pilot", "tinny", "did you mean 'tiny'"),
    (edit("steps: 3", "steps: 3\n      select: best_test"), "pilot", "best_test", "'paper' scale only"),
    (pair("pretrain: {stepz: 1}\n"), None, "stepz", "did you mean 'steps'"),
    (pair("finetune: {seed: 1}\n"), None, "seed:", "did you mean 'seeds'"),
    (pair("finetune: {lr: 1}\n"), None, "lr: 1}", "unknown key 'lr'; did you mean 'optimiser.lr'?"),
    (edit("split: even", "split: even\n    lr: 2e-3"), None, "lr: 2e-3", "did you mean 'optimiser.lr'?"),
    (edit("epochs: 100", "epochs: 100\n  learning_rate: 1"), None, "learning_", "did you mean 'optimiser.lr'?"),
    (edit("epochs: 100", "epochs: 100\n  weight_decay: 1"), None, "  weight_", "'optimiser.weight_decay'?"),
    (edit("epochs: 100", "epochs: 100\n  batch_size: 1"), None, "batch_", "did you mean 'batch'?"),
    (edit("title: Test", "title: Test\nlr: 1"), None, "lr: 1", "'finetune.optimiser.lr' or 'pretrain.optimiser.lr'?"),
    (pair("finetune: {split: other}\n"), None, "other", "a row cannot change this"),
    (pair("finetune: {steps: 1, epochs: 2}\n"), None, "epochs: 2", "set the budget once"),
    (edit("  alone: {method: scratch, network: net}\n", ""), None, "  pair:", "nothing to compare with"),
    (edit("  epochs: 100", "  epochs: 100\n  seed: 0\n  seeds: [1]"), None, "pretrain:", "not both"),
    (edit("  epochs: 100", "  epochs: 100\n  seeds: [1, 1]"), None, "pretrain:", "each value once"),
    (pair("finetune: {name: x}\n"), None, "name: x", "a row cannot change this"),
    (edit("    steps: 6\n", "    steps: 6\n    name: a/b\n"), None, "name: a/b", "name of a file"),
    (edit("rows:\n", quoted("{published: X}", "alone")), None, "  alone: {pub", "'alone' is already the name of a row"),
    (edit("rows:\n", LONG + quoted("{published: X}", "alone (long)")), None, "(long): {",
     "variant of row 'alone'"),
    (edit("rows:\n", quoted("{published: ' '}")), None, "  q: {", "'published' is empty"),
    (edit("rows:\n", quoted("{title: X}")), None, "  q: {", "'published' is missing"),
    (edit("rows:\n", quoted("{published: X}", '"q\\tq"')), None, '"q\\tq"', "cannot be printed as a name"),
    (edit("rows:\n", "published_only:\n  q: {published: X}\nrows:\n"), None, "  q: {",
     "the source of the published number is missing"),
    (edit("rows:\n", "layout: {groups: {A: [alone, q]}}\nrows:\n"), None, "layout", "no row named 'q'"),
    (view("{lines: [target], columns: [row], facts: [parameters]}"), None, "layout", "put 'row' among"),
    (view("{lines: [target], columns: [metric]}"), None, "layout", "the table lacks columns, or 'row' among"),
    (view("{draw: lines, columns: [target]}"), None, "layout", "lines need 'columns: [fraction]'"),
    (view("{draw: bars, columns: [target, metric]}"), None, "layout", "bars show one metric per plot"),
    (view("{draw: dots, columns: [network, section]}"), None, "layout", "rows and networks are shown by colour"),
    (view("{columns: [target, target]}"), None, "layout", "each axis once"),
    (view("{gain: alone, rows: [pears]}"), None, "layout", "no row named 'pears'; did you mean 'pair'?"),
    (pair("sections: [other]\n"), None, "sections: [other]", "no section named 'other'"),
    (narrowed(f", {FIRST}", f"    {FIRST}\n"), None, "- {dataset", "no row uses section 'second'"),
    (narrowed(f", {FIRST}", ""), None, "  pair:", "nothing to compare with in section 'second'"),
    (edit("    steps: 6\n", TWIN), None, "name: twin # 2", "two sections are called 'twin'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "scale", "place", "message"), MISTAKES, ids=[m[2] + m[3] for m in MISTAKES]
)
def test_a_mistake_is_one_line_with_file_line_and_nearest_name(
    text_file, text, scale, place, message
):
    path = text_file(text)
    with refused() as caught:
        read(path, scale)
    said = str(caught.value)
    assert message in said and "\n" not in said
    assert said.startswith(f"{path}:{line_of(text, place)}: ")


WITHOUT = TEXT[: TEXT.index("scales:")] + "scales: "


@pytest.mark.parametrize(
    ("text", "scale", "message"),
    [
        (TEXT, "smoke", "has no scale 'smoke'; it has: paper, pilot"),
        (TEXT, "huge", "has no scale 'huge'"),
        (TEXT + "scale: [pilot]\n", None, "has no scale"),
        *(
            (f"{WITHOUT}{s}\n", "pilot", "scales.*mapping")
            for s in ("{pilot: }", "[pilot]", "5", "{pilot: 5}")
        ),
    ],
)
def test_a_scale_that_the_file_lacks_or_that_is_none_is_refused(text_file, text, scale, message):
    with refused(message):
        read(text_file(text), scale)


ALONE = "  alone: {method: scratch, network: net}\n"


def test_a_baseline_is_a_row_from_scratch_on_the_same_network_and_one_is_enough(text_file):
    assert list(read(text_file(edit(ALONE, "") + "baseline: none\n")).rows) == ["pair"]
    longer = "  longer: {method: scratch, network: net, finetune: {steps: 60}}\n"
    assert len(read(text_file(edit(ALONE, ALONE + longer))).rows) == 3
    other = edit(ALONE, ALONE.replace("net}", "other}"))
    other = other.replace("networks:\n", "networks:\n  other: {network: unet3d, preset: tiny}\n", 1)
    with refused("add a row with 'method: scratch' on network 'net'"):
        read(text_file(other))


@pytest.mark.parametrize(
    ("own", "keys"),
    [
        ("epochs: 150", "epochs, hold, steps"),
        ("optimiser: {lr: 1e-2}, batch: 8", "batch, optimiser.lr"),
        ("augment: {flip: 0.5}", "augment.flip"),
        ("crop: [32, 32, 16]", "net.crop"),
        ("fractions: [10, 100]", "fractions"),
        ("evaluation: decoder", "evaluation"),
        ("loss: dice_ce, accumulate: 2, hold: steps, seeds: [0]", ""),  # as by default
        ("seeds: [7]", "seeds"),
    ],
)
def test_a_baseline_is_fine_tuned_as_what_it_is_compared_with(text_file, own, keys):
    text = pair(f"finetune: {{{own}}}\n")
    if not keys:
        assert read(text_file(text)).baseline == "scratch"
        return
    said = f"on '.*' with other settings than its baseline, row 'alone': {keys};.* by 'tune', or write 'baseline: un"
    with refused(f"rows.pair: is fine-tuned {said}"):
        read(text_file(text))
    (line,) = unequal(read(text_file(text + "baseline: unequal\n")))
    assert line.startswith("Row pair and its baseline, row alone, are not fine-tuned alike: ")
    assert all(key in line for key in keys.split(", "))


def test_sections_are_named_after_their_data_sets_and_counted_where_one_comes_twice(text_file):
    more = "    steps: 6\n" + "  - {dataset: msd04_hippocampus, split: even, steps: 9}\n" * 2
    more += "  - {dataset: msd04_hippocampus, split: even, steps: 9, name: mine}\n"
    text = edit("    steps: 6\n    optimiser: {lr: 1e-3, weight_decay: 1}\n", more)
    name = "msd04_hippocampus"
    assert read(text_file(text)).sections == (name, f"{name}#2", f"{name}#3", "mine")


def test_a_line_that_is_only_quoted_may_be_grouped_and_shown_as_rows_are(text_file):
    layout = "layout: {groups: {A: [alone, q]}, views: [{rows: [q, pair], gain: q}]}\n"
    found = read(text_file(edit("rows:\n", layout + quoted("{published: X, why: a server's}"))))
    assert (found.published_only["q"].published, found.published_only["q"].why) == (
        "X",
        "a server's",
    )
    assert list(found.rows) == ["alone", "pair"] and found.layout.groups["A"] == ("alone", "q")


def test_two_files_of_one_name_are_refused_in_one_command(text_file):
    paths = [text_file(name="a/x.yaml"), text_file(name="b/x.yaml")]
    with refused(r"b/x\.yaml: is called 'x', as .*a/x\.yaml is; give one of them a"):
        read_all(paths)
    assert [p.name for p in read_all([paths[0], text_file(TEXT + "name: y\n", "c/x.yaml")])] == [
        "x",
        "y",
    ]


def test_a_file_is_known_again_where_it_was_or_by_what_it_says(text_file):
    one, edited = read(text_file(name="a/x.yaml")), edit("title: Test", "title: Other")
    assert one.origin.same(read(text_file(name="b/x.yaml")).origin)  # a copy
    assert one.origin.same(read(text_file(name="a/x.yaml"), "pilot").origin)
    assert not one.origin.same(read(text_file(edited, "b/x.yaml")).origin)
    assert one.origin.same(read(text_file(edited, "a/x.yaml")).origin)
    assert read(text_file(name="protocols/a/x.yaml")).origin.path == "protocols/a/x"
    assert "/" not in one.origin.path


def test_a_rows_overrides_change_that_row_alone_and_its_budget_replaces_the_sections(text_file):
    text = pair("pretrain: {steps: 9, optimiser: {lr: 5e-2}}\n    finetune: {epochs: 2}\n")
    found = read(text_file(text + "baseline: unequal\n"))
    row, other = found.rows["pair"], found.rows["alone"]
    changed = pretrain_of(found, row, 0)
    assert (changed.steps, changed.epochs, changed.optimiser.lr) == (9, None, 5e-2)
    assert changed.datasets == found.pretrain.datasets
    assert (finetune_of(found, 0, row).steps, finetune_of(found, 0, row).epochs) == (None, 2.0)
    assert finetune_of(found, 0, other) == found.finetune[0]
    assert pretrain_of(found, other, 0) == found.pretrain


def test_a_scales_budget_for_a_row_replaces_the_rows_own(text_file):
    text = pair("finetune: {epochs: 2}\n")
    text += "    rows:\n      pair: {finetune: {steps: 4}}\nbaseline: unequal\n"
    found = read(text_file(text), "pilot")
    tuned = finetune_of(found, 0, found.rows["pair"])
    assert (tuned.steps, tuned.epochs) == (4, None)


@pytest.mark.parametrize(
    ("stated", "unused"),
    [
        ("optimiser: {name: sgd, eps: 1e-6}", ["'eps'"]),
        ("optimiser: {name: sgd, momentum: 0.5, nesterov: true}", []),
        ("optimiser: {momentum: 0.99, trust: 0.1}", ["'momentum'", "'trust'"]),
        ("optimiser: {momentum: 0.9}", []),  # the default: ids do not depend on it
        ("optimiser: {name: lars, trust: 0.1, nesterov: true}", ["'nesterov'"]),
        ("schedule: {name: cosine, power: 2.0}", ["'power'"]),
        ("schedule: {name: poly, power: 2.0}", []),
        ("schedule: {name: constant, end: 0.1}", ["'end'"]),
    ],
)
def test_a_key_that_an_optimiser_or_a_schedule_does_not_read_is_told_with_its_line(
    text_file, stated, unused
):
    kind = stated.partition(":")[0]
    text = pair(f"pretrain: {{{stated}}}\n")
    lines = unread(read(text_file(text)))
    assert [line.split("does not read ")[1].split(",")[0] for line in lines] == unused
    at = f"test.yaml:{line_of(text, stated)}: rows.pair.pretrain.{kind}."
    assert all(at in line for line in lines)


def test_a_key_of_a_section_that_is_not_read_is_told_once_for_all_rows(text_file):
    text = edit("lr: 1e-3,", "lr: 1e-3, momentum: 0.99,")
    (line,) = unread(read(text_file(text)))
    assert f"test.yaml:{line_of(text, 'momentum')}: finetune.0.optimiser.momentum: " in line


def test_mistakes_of_scales_that_are_not_run_are_told(text_file):
    path = text_file(edit("      steps: 5", "      stops: 5"))
    (line,) = mistakes(path, "paper")
    assert line.startswith("scale 'pilot' could not be run: ") and "did you mean 'steps'" in line
    assert not mistakes(path, "pilot") and not mistakes(text_file(), "paper")
