"""Methods by probe and by fine-tuning: which rows pair, what is printed of them, what is refused."""

import csv
from itertools import product

import pytest
from one_line import refusal

from bench import record
from bench.cli import main
from bench.records import as_parquet
from bench.report import index
from bench.store import Store

METHODS = [f"m{i}" for i in range(8)]
RANDOM = ("scratch_row", "scratch_row (intensity)")
SAME = {
    **{"scale": "pilot", "section": "s", "dataset": "d", "split": "even", "split_hash": "abc"},
    **{"n_train": 5, "fold": 0, "convention": "medpy/default", "status": "ok", "params": "{}"},
    **{"network": "net/tiny", "metric": "dice", "unit": "1", "pretrain_seed": 0, "job": "j"},
}


def records(evaluation, of=lambda i: i, fractions=(10, 100), rows=METHODS, **columns):
    """Return records in which the mean of method number i follows ``of(i)``."""
    lines = []
    every = [*rows, *(RANDOM if evaluation == "probe" else RANDOM[:1])]
    for row, fraction, seed, patient in product(every, fractions, (0, 1), ("a", "b")):
        control = row in RANDOM
        line = {**dict.fromkeys(record.COLUMNS, ""), **SAME, "row": row, "evaluation": evaluation}
        line |= {
            "method": "scratch" if control else row,
            "init": "random" if control else f"job:{row}",
        }
        line |= {"fraction": fraction, "seed": seed, "case": patient, "patient": patient}
        value = 0.99 if control else 0.5 + of(METHODS.index(row)) / 100 + seed / 1000
        lines.append(line | {"value": value, "target": "liver", "protocol": evaluation} | columns)
    return record.frame(lines)


@pytest.fixture
def placed(tmp_path):
    """Return a function that writes records into an output folder of their own."""

    def written(name, *tables):
        store = Store.open(tmp_path / name)
        (store.root / "records").mkdir(exist_ok=True)
        for table in tables:
            file = store.root / "records" / f"{table['protocol'].iloc[0]}.parquet"
            file.write_bytes(as_parquet(table))
        return str(store.root)

    return written


def drawn(tmp_path, capsys, *paths):
    code = main(["compare", *paths, "--ranks", "--to", str(tmp_path / "page")])
    printed = capsys.readouterr()
    table = (tmp_path / "page" / "table.csv").read_text(encoding="utf-8")
    return code, printed.out, list(csv.DictReader(table.splitlines()))


@pytest.mark.parametrize(
    ("of", "tau", "says"),
    [
        (lambda i: i, 1, "tend to be better fine-tuned"),
        (lambda i: -i, -1, "tend to be worse fine-tuned"),
        (lambda i: i * 3 % 8, None, "there is no evidence that"),
    ],
)
def test_a_known_order_is_told_and_controls_have_no_rank(tmp_path, capsys, placed, of, tau, says):
    paths = placed("a", records("probe")), placed("b", records("end_to_end", of))
    code, out, lines = drawn(tmp_path, capsys, *paths)
    assert code == 0
    assert f"Over {len(METHODS)} methods, tau is" in out and says in out
    controls = {line["row"]: line for line in lines if line["control"] == "1"}
    assert set(controls) == set(RANDOM)
    assert all(line["probe_rank"] == "" for line in controls.values())
    methods = [line for line in lines if line["control"] == "0"]
    assert {line["row"] for line in methods} == set(METHODS)
    assert tau is None or {float(line["tau"]) for line in methods} == {tau}
    best = [line["row"] for line in methods if float(line["probe_rank"]) == 1]
    assert best == ["m7", "m7"]  # at both fractions
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "<svg" in page and says in page
    assert {"ranks.png", "ranks.svg", "table.md"} <= {f.name for f in (tmp_path / "page").iterdir()}
    assert 'href="page/index.html"' in index.write(tmp_path).read_text(encoding="utf-8")


def test_what_pairs_is_printed_and_what_does_not(tmp_path, capsys, placed):
    probe = records("probe", fractions=(5, 20, 100), rows=METHODS[1:])
    tuned = records("end_to_end", fractions=(10, 50), init="job:other", split_hash="other")
    code, out, lines = drawn(tmp_path, capsys, placed("a", probe, tuned), placed("b", tuned))
    assert code == 0
    assert {(line["probe_fraction"], line["finetuned_fraction"]) for line in lines} == {
        ("5", "10"),
        ("100", "50"),
    }
    assert "7 methods have both scores, 0 of them from the same weights, on different splits" in out
    assert (
        "fine-tuning score only: m0" in out and "probe score only: scratch_row (intensity)" in out
    )
    assert "Not compared: probe, s, 20 %, net/tiny: there is no fine-tuning" in out


def test_of_few_methods_nothing_can_be_told(tmp_path, capsys, placed):
    few = [records(evaluation, rows=METHODS[:4]) for evaluation in ("probe", "end_to_end")]
    code, out, lines = drawn(tmp_path, capsys, placed("a", few[0]), placed("b", few[1]))
    assert code == 0 and {line["tau"] for line in lines} == {""}
    assert "Nothing can be told: at most 4 methods have both scores, 5 are needed." in out


def test_a_comparison_of_too_few_methods_or_of_copied_runs_is_named_and_not_counted(
    tmp_path, capsys, placed
):
    tuned = [
        records("end_to_end", **{"protocol": name, "rows": METHODS[:n], **columns})
        for name, n, columns in (
            ("whole", 8, {}),
            ("copied", 6, {}),
            ("other_runs", 6, {"job": "k"}),
            ("small", 4, {"job": "k"}),
        )
    ]
    code, out, lines = drawn(tmp_path, capsys, placed("a", records("probe")), placed("b", *tuned))
    assert code == 0
    assert {line["finetuned"] for line in lines} == {"whole/s", "other_runs/s"}
    assert "with small, s, 10 %, net/tiny: fewer than 5 methods have both scores (4)" in out
    assert "with copied, s, 10 %, net/tiny: the same fine-tunings are in another comparison" in out
    assert "Over 8 methods, tau is 1.00, the mean over 4 comparisons" in out


@pytest.mark.parametrize(
    ("tables", "flags", "why"),
    [
        (("end_to_end", "end_to_end"), [], "there are no records of a probe"),
        (("probe", "probe"), [], "there are no records of a fine-tuning"),
        (("probe", "no_common"), [], "no method is scored by a probe and by fine-tuning"),
        (("probe", "another_network"), [], "no method is scored by a probe and by fine-tuning"),
        (("probe", None), [], "holds no records"),
        (("probe", "end_to_end"), ["--json"], "does not work with --json or --protocol"),
    ],
)
def test_what_is_refused_ends_with_one_line(tmp_path, capsys, placed, tables, flags, why):
    records_of = {
        "probe": records("probe"),
        "end_to_end": records("end_to_end"),
        "no_common": records("end_to_end", dataset="other"),
        "another_network": records("end_to_end", network="other/tiny"),
    }
    paths = [placed(str(i), *([records_of[name]] if name else [])) for i, name in enumerate(tables)]
    assert (
        why in refusal(capsys, "compare", *paths, "--ranks", "--to", tmp_path / "page", *flags)
        and not (tmp_path / "page").exists()
    )


def test_flags_of_ranks_want_each_other(tmp_path, capsys, placed):
    path = placed("a", records("probe"))
    assert (
        main(["compare", path, path, "--to", "x"]) == main(["compare", path, path, "--ranks"]) == 2
    )
    assert "--to" in capsys.readouterr().err
