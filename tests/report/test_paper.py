"""For a paper: a LaTeX float for each table, and sentences; their numbers are those of the page."""

import re
from itertools import product

import pytest

from bench.errors import BenchError
from bench.protocol import Finetune, Layout, Net, Row, View
from bench.report.conclusion import verdict_tables
from bench.report.numbers import MINUS
from bench.report.paper import DRAWN, write_paper
from bench.report.supplement import Extras
from bench.report.verdicts import verdicts
from bench.report.write import context_of, write

SEEDS, PATIENTS = (0, 1, 2), range(6)
VIEWS = (
    View(title="Dice: 50 % & all, {b}", columns=("section", "fraction"), metrics=("dice",)),
    View(title="Dice: 50 % & all, {b}", columns=("target",), fractions=(100,), metrics=("dice",)),
)


@pytest.fixture
def study(protocol, records):
    """Return a protocol and records: a row of three pretrainings that is 2, 3 and 4 points above scratch."""
    tuned = Finetune(dataset="organs", split="even", fractions=(50, 100), seeds=SEEDS, steps=10)
    changed = protocol(
        finetune=(tuned,), layout=Layout(views=VIEWS), title="Ours, 100 % real_scans"
    )
    rows = [
        {
            "row": row,
            "method": {"a": "scratch", "b": "voco"}[row],
            "init": "random" if row == "a" else f"job:{seed}",
            "pretrain_seed": 0 if row == "a" else seed,
            "seed": seed,
            "fraction": fraction,
            "case": f"c{patient}",
            "target": target,
            "value": 0.5
            + 0.01 * patient
            + (0.02 + 0.01 * seed) * (row == "b")
            - 0.1 * (fraction == 50),
        }
        for row, seed, fraction, patient, target in product(
            "ab", SEEDS, (50, 100), PATIENTS, ("liver", "spleen")
        )
    ]
    return changed, records(*rows)


def test_each_table_is_a_float_of_its_own_with_the_numbers_and_counts_of_the_page(study, tmp_path):
    written = dict(write_paper(*study, tmp_path / "paper", Extras()))
    names = [file.name for file in written]
    assert names == [
        "dice_50_all_b.tex",
        "dice_50_all_b_2.tex",
        "differences_organs_50.tex",
        "differences_organs_100.tex",
        "sentences.txt",
    ]
    page = write(*study, tmp_path / "report", Extras(), figures=False).tex.read_text()
    labels = []
    for file in [*written][:-1]:
        text = file.read_text()
        lines = [line for line in text.splitlines() if not line.startswith("%")]
        assert lines[0] == r"\begin{table}[htb]" and lines[-1] == r"\end{table}"
        for once in (r"\caption{", r"\label{", r"\toprule", r"\midrule", r"\bottomrule"):
            assert text.count(once) == 1, once
        assert DRAWN in text.splitlines()[0] and r"\usepackage{booktabs}" in text
        plain = re.sub(r"\\[{}]", "", "\n".join(lines))  # of escaped braces none opens anything
        assert plain.count("{") == plain.count("}")
        labels += re.findall(r"\\label\{(tab:[\w.-]+)\}", text)
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
        assert body in page, "the page has other lines"
        assert re.search(r"3[~ ]\\ensuremath\{\\times\}[~ ]6 ", body)
        (caption,) = (line for line in lines if line.startswith(r"\caption{"))
        assert "%" not in caption.replace(r"\%", "")
    assert len(set(labels)) == 4
    text = (tmp_path / "paper/dice_50_all_b.tex").read_text()
    assert r"\underline{52.50} {\footnotesize\ensuremath{\pm} 0.00}" in text
    assert r"\caption{Dice: 50 \% \& all, \{b\} (pilot scale). " in text


def test_a_sentence_has_the_means_of_the_records_and_the_interval_of_the_verdict(study, tmp_path):
    write_paper(*study, tmp_path, Extras())
    text = (tmp_path / "sentences.txt").read_text()
    context = context_of(*study, Extras())
    for fraction, means in {100: ("52.50 ± 0.00", "55.50 ± 1.00"), 50: ("42.50", "45.50")}.items():
        (group,) = (g for g in verdicts(context) if g.fraction == fraction)
        (table,) = verdict_tables(context, [group])
        (line,) = table.lines
        difference, interval = line.entries[0].mean, line.entries[1].mean.replace(MINUS, "-")
        assert difference == "+3.00"  # by hand: the mean of 2, 3 and 4 points
        (said,) = (s for s in text.splitlines() if s.startswith(f"A {means[0]}"))
        assert f", B {means[1]}" in said
        assert f"difference +3.00 (95 % interval {interval}, " in said
        assert "three pretrainings, 6 patients): " in said
        assert said.endswith(f": {group.rows[0].judged.verdict}.")


ONE = {"pretrain_seed": 0, "init": "job:0"}
NOUNS = {  # changes of row b's records: what a comparison is said to rest on
    "one pretraining": (ONE, SEEDS, "one pretraining with three fine-tunings, 6 patients"),
    "one run": (ONE, (0,), "one pretraining, 6 patients): these weights only"),
}


@pytest.mark.parametrize("case", NOUNS)
def test_a_sentence_says_what_it_rests_on(study, tmp_path, case):
    (changed, rows), (columns, seeds, expected) = study, NOUNS[case]
    rows = rows[rows["seed"].isin(seeds)].copy()
    for name, value in columns.items():
        rows[name] = rows[name].astype(object).where(rows["row"] != "b", value)
    rows["pretrain_seed"] = rows["pretrain_seed"].astype("int64")
    write_paper(changed, rows, tmp_path, Extras())
    assert expected in (tmp_path / "sentences.txt").read_text()


def test_rows_of_several_networks_are_told_apart(study, tmp_path):
    changed, rows = study
    nets = {"net": Net("swin_unetr"), "other": Net("unet3d")}
    of = {**changed.rows, "c": Row("scratch", "other", title="C")}
    changed = type(changed)(**{**vars(changed), "rows": of, "networks": nets})
    write_paper(changed, rows, tmp_path, Extras())
    assert "\nA (net) 52.50 ± 0.00, B (net) 55.50" in (tmp_path / "sentences.txt").read_text()


def test_tables_are_chosen_by_name_and_no_foreign_file_is_replaced(study, tmp_path):
    written = write_paper(*study, tmp_path, Extras(), ["dice_50_all_b"])
    names = {"dice_50_all_b.tex", "sentences.txt"}
    assert {file.name for file, _ in written} == names == {p.name for p in tmp_path.iterdir()}
    assert write_paper(*study, tmp_path, Extras(), ["dice_50_all_b"]) == written  # its own: again
    with pytest.raises(BenchError, match=r"--table dice: no table named 'dice'; .*dice_50_all_b"):
        write_paper(*study, tmp_path / "other", Extras(), ["dice"])
    assert not (tmp_path / "other").exists()
    (tmp_path / "sentences.txt").write_text("mine")
    with pytest.raises(BenchError, match=r"sentences\.txt: exists, and bench did not write it"):
        write_paper(*study, tmp_path, Extras())
    assert {p.name for p in tmp_path.iterdir()} == names
