"""Whole reports: escaping, determinism, what a page holds and what it must not."""

import csv
import html
import io
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from bench.protocol import Finetune, Layout, Quoted, Row, View
from bench.report.figures import wanted
from bench.report.supplement import (
    Cloud,
    Cost,
    Course,
    DatasetInfo,
    Extras,
    Failure,
    Panel,
    Pretext,
)
from bench.report.tex import LATIN, escape
from bench.report.write import context_of, plain_text, write
from bench.source import Source

NASTY = "<script>alert('x')</script> & 50%_a|b $c$ #1 {d} ~^\\ [e] *f*"


def pictures(page):
    """Return everything that the page would load."""
    return re.findall(r'(?:src|srcset)="([^"]*)', page) + re.findall(r"<link[^>]*>", page)


def panel(**given):
    image = np.full((8, 6), 90, np.uint8)
    mask = np.zeros((8, 6), np.uint8)
    mask[2:5, 2:4] = 1
    fields = {"row": "a", "section": "organs", "case": "c1", "title": "A"}
    return Panel(**{**fields, "image": image, "reference": mask, "prediction": mask, **given})


def organs(**given):
    return DatasetInfo("organs", "Organs", registered=False, **given)


@pytest.fixture
def full(protocol, records):
    """A protocol, records and extras in which every part of a report has something to say."""
    target = Finetune(dataset="organs", split="even", steps=10, fractions=(10, 100))
    rows = {"a": Row("scratch", "net", title=NASTY), "b": Row("voco", "net")}
    called = View(title=NASTY, lines=("metric", "row"), checks={NASTY: "on"}, facts=("parameters",))
    views = (View(), called, View(lines=("target", "metric"), columns=("row",)))
    layout = Layout(views=views, groups={NASTY: ("a",)})
    wild = protocol(title=f"Title {NASTY}", about=NASTY, notes=(NASTY,), rows=rows, layout=layout)
    scored = [
        {"row": r, "fraction": f, "seed": s, "value": 0.5 + s / 10, "target": t}
        for r, f, s, t in product("ab", (10, 100), (0, 1), ("liver", NASTY))
    ]
    curve = {"steps": (1, 2), "values": (1.0, 2.0), "chances": (0.5, 0.5)}
    extras = Extras(
        sources={"method/voco": Source(NASTY, "javascript:alert(1)", NASTY)},
        titles={"voco": NASTY},
        costs=(Cost("b", "pretrain", 7500.0, 2048.0, 100, 200, 10**9),),
        failures=(Failure("j1", "b", NASTY, NASTY, section="elsewhere"),),
        notes=(NASTY,),
        curves={NASTY: {"step": (1, 2, 3), "loss": (3.0, 2.0, 1.5), "lr": (1e-4,) * 3}},
        courses=tuple(Course("b", "organs", f, 0, (1.0, 2.0), (2.0, 1.0)) for f in (10, 100)),
        pretexts=(Pretext("b", NASTY, 1.0, 2.0, 0.5, collapsed=True, **curve),),
        clouds=(Cloud(NASTY, ((0.0, 0.0),) * 2, (0, 1), (NASTY, "b"), NASTY),),
        absent=(NASTY,),
        panels=(panel(),),
        datasets=(organs(redistribution=True),),
        provenance={"commit": NASTY, "date": "2000-01-01"},
    )
    wild = replace(wild, finetune=(target,), published_only={"q": Quoted("Other", NASTY, NASTY)})
    return wild, records(*scored), extras


def test_a_page_loads_nothing_is_escaped_and_shows_the_scale_and_a_tabular_keeps_its_columns(
    full, tmp_path
):
    paths = write(*full[:2], tmp_path, full[2])
    markup = paths.page.read_text()
    text = html.unescape(markup)
    assert markup.count('class="drawn"') == 7 and pictures(markup) == []
    links = re.findall(r'href="([^"]*)', "".join(re.findall(r"<svg .*?</svg>", markup, re.DOTALL)))
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert "pilot scale" in markup and "2 h 05 min" in markup
    # the page's own, for sorting
    assert markup.count("<script") == 1 and "javascript:" not in markup
    assert text.count("<script>alert('x')</script> & 50%_a|b $c$") >= 8
    text = paths.tex.read_text()
    for tabular in re.findall(r"(?ms)^\\begin\{tabular\}.*?\\end\{tabular\}", text):
        kinds = re.search(r"\{@\{\}(.+)@\{\}\}", tabular)[1].replace(r"p{.25\linewidth}", "p")
        width = len(kinds)
        assert {*kinds} <= {*"lrcp"}
        rows = [r for r in tabular.splitlines() if r.endswith(r" \\") and "multicolumn" not in r]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", r)) + 1 for r in rows} == {width}
    for block in paths.markdown.read_text().split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_escape_prints_every_special_as_itself():
    assert escape("a_b & 5% #1 $x$") == r"a\_b \& 5\% \#1 \$x\$"
    assert escape("a--b\\") == r"a-{}-b\textbackslash{}"
    assert escape("84 ± 1 \N{MINUS SIGN}2") == r"84 \ensuremath{\pm} 1 \ensuremath{-}2"


@pytest.mark.usefixtures("pdfs")
def test_equal_records_make_equal_bytes(full, tmp_path):
    protocol, table, extras = full
    first, second = tmp_path / "one", tmp_path / "two"
    write(protocol, table, first, extras)
    write(protocol, table.sample(frac=1, random_state=1), second, extras)
    names = sorted(p.name for p in first.iterdir())
    drawn = {"fractions", "dots", "curves", "training", "pretext", "embeddings", "panels_organs"}
    assert {f"{name}.{kind}" for name in drawn for kind in ("png", "pdf", "svg")} < set(names)
    assert [p for p in names if (first / p).read_bytes() != (second / p).read_bytes()] == []


def test_figures_are_drawn_again_only_when_their_input_changed(full, tmp_path):
    protocol, table, extras = full
    write(protocol, table, tmp_path, extras)
    stamp = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.png")}
    changed = table.assign(value=table["value"] / 2)
    page = write(protocol, changed, tmp_path, extras, figures=False).page.read_text()
    # a figure that is out of date is not shown
    assert page.count('class="drawn"') == 6 and "Not drawn" in page
    write(protocol, changed, tmp_path, extras)
    drawn = {n for n, at in stamp.items() if (tmp_path / n).stat().st_mtime_ns != at}
    assert drawn == {"fractions.png"}  # both rows are halved alike: they differ by nothing still
    write(protocol, changed, tmp_path, Extras())
    files = {p.name for kind in ("png", "pdf", "svg") for p in tmp_path.glob(f"*.{kind}")}
    names = ("fractions", "dots")
    assert files == {f"{name}.{kind}" for name in names for kind in ("png", "pdf", "svg")}


def test_a_folders_own_labels_name_what_a_picture_shows(protocol, records):
    info = organs(labels=((1, "necrosis"), (2, "edema")))
    context = context_of(protocol(), records({}), Extras(panels=(panel(),), datasets=(info,)))
    (legend,) = wanted(context)[-1].draw().legends
    assert [text.get_text() for text in legend.get_texts()] == ["necrosis"]


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (organs(licence="CC-BY 4.0"), "licence CC-BY 4.0, by its dataset.json). Read the terms"),
        (organs(), "it is not stated that they may be shared (licence not stated here)."),
        (
            replace(organs(licence="Kept", redistribution=False), registered=True),
            "Images of Organs are left out: their licence (Kept) does not allow sharing.",
        ),
        (replace(organs(licence="CC BY-NC"), registered=True), "may be shared (licence CC BY-NC)."),
    ],
)
def test_images_stay_outside_the_page_for_the_reason_that_is_known(
    protocol, records, tmp_path, info, reason
):
    extras = Extras(panels=(panel(),), datasets=(info,))
    page = write(protocol(), records({}), tmp_path, extras).page.read_text()
    text = html.unescape(page)
    assert (
        pictures(page) == []
        and reason in text
        and "They are in panels_organs.png beside this page." in text
    )
    where = "data set file" if info.registered else "dataset.json"
    assert (f"into its {where} and run the protocol again" in text) == (info.redistribution is None)
    assert ("does not allow" in text) == (info.redistribution is False)
    assert (tmp_path / "panels_organs.png").exists()


def test_the_csv_is_tidy_and_keeps_shares_of_one(protocol, records, printed, tmp_path):
    rows = {"a": Row("scratch", "net"), "b": Row("voco", "net", published="VoCo")}
    frame = printed({"fraction": 100, "value": 83.85, "dagger": float("nan"), "note": float("nan")})
    table = records(
        {"row": "b", "seed": 0, "value": 0.84},
        {"row": "b", "seed": 1, "value": 0.86},
        {"row": "a", "status": "failed", "value": float("nan"), "target": "", "metric": ""},
    )
    paths = write(protocol(rows=rows), table, tmp_path, Extras(published=frame))
    lines = list(csv.DictReader(io.StringIO(paths.csv.read_text())))
    by_row = {(line["row"], line["target"]): line for line in lines}
    ours = by_row["b", "liver"]
    assert (ours["mean"], ours["sd"], ours["n_runs"]) == ("0.850000", "0.014142", "2")
    assert (ours["section"], ours["dataset"]) == ("organs", "organs")
    assert (ours["n_patients"], ours["n_cases"]) == ("1", "1")
    assert (ours["published"], ours["difference"]) == ("0.838500", "0.011500")
    assert (ours["state"], by_row["a", "liver"]["state"]) == ("ok", "failed")
    assert by_row["a", "liver"]["mean"] == ""


def test_the_notes_name_split_convention_budget_and_deviations(protocol, records, tmp_path):
    study = protocol(notes=("We differ here.",), metrics=("dice", "hd95"))
    text = write(study, records({}), tmp_path).markdown.read_text()
    overlap = write(protocol(), records({}), tmp_path).markdown.read_text()
    assert "convention medpy" not in overlap  # which is about surfaces
    for words in (
        "5p1it",
        "convention medpy",
        "convention “default”",
        "(select last)",
        "We differ here.",
        "averaged over the test cases of a patient",
        "[pilot scale",
    ):
        assert words.replace("[", r"\[") in text


def compiled(program, body, folder, packages=(), wide=False):
    """Return what a TeX says of a document, as the head of ``table.tex`` asks for it."""
    if shutil.which(program) is None:
        pytest.skip(
            f"no {program} on the PATH (apt-get install texlive-latex-recommended texlive-xetex)"
        )
    page = (
        "\\documentclass{article}\n"
        + "\n".join(packages)
        + "\\begin{document}\n"
        + body
        + "\\end{document}\n"
    )
    (folder / "page.tex").write_text(page, encoding="utf-8")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def test_the_head_of_the_latex_file_compiles_as_it_says(protocol, records, tmp_path):
    wide = records(
        *({"target": f"organ {i}", "row": r, "value": 0.5} for i in range(18) for r in "ab")
    )
    text = write(protocol(about=NASTY), wide, tmp_path, figures=False).tex.read_text()
    packages = re.findall(r"\\usepackage\{\w+\}", text)
    (form,) = re.findall(r"^% Such a tabular fits as (.*)\.$", text, re.MULTILINE)
    fitted = re.sub(
        r"\\begin\{tabular\}.*?\\end\{tabular\}",
        lambda match: form.replace(r"\begin{tabular}...\end{tabular}", match[0]),
        text,
        flags=re.DOTALL,
    )
    assert (
        packages == [r"\usepackage{booktabs}", r"\usepackage{graphicx}"]
        and fitted.count("resizebox") > 1
    )
    code, log = compiled("pdflatex", text, tmp_path, packages[:1])
    assert code == 0 and "Overfull" in log
    code, log = compiled("pdflatex", fitted, tmp_path, packages)
    assert code == 0 and "Overfull" not in log, log[-2000:]


def test_characters_that_pdflatex_does_not_print_are_named_and_no_others(
    protocol, records, tmp_path
):
    rows = {
        "a": Row("scratch", "net", title="Naïve Çelik Łuczak £"),
        "b": Row("voco", "net", title="β-VAE Дж"),
    }
    plain, greek = (
        write(
            protocol(rows={r: rows[r] for r in names}),
            records({"row": names[0]}),
            tmp_path,
            figures=False,
        ).tex.read_text()
        for names in ("a", "b")
    )
    assert "pdfLaTeX" not in plain and "that pdfLaTeX does not print (β, Д, ж)" in greek
    packages = re.findall(r"\\usepackage\{booktabs\}", greek)
    assert compiled("pdflatex", plain, tmp_path, packages)[0] == 0
    assert compiled("pdflatex", greek, tmp_path, packages)[0] != 0
    latin = "".join(f"{c} " for c in sorted(LATIN))
    assert compiled("pdflatex", latin, tmp_path)[0] == 0
    fonts = re.findall(r"(\\usepackage\{fontspec\}) (\\setmainfont\{.*?\})\.", greek)[0]
    code, log = compiled("xelatex", greek, tmp_path, (*packages, *fonts))
    if "cannot be found" in log:
        pytest.skip("no DejaVu Serif among the fonts")
    assert code == 0 and "Missing character" not in log


def test_a_terminal_table_is_cut_to_the_width_and_explains_what_it_shows_without_asterisks(
    protocol, records, monkeypatch
):
    wide = records(*({"target": f"organ {i}", "value": 0.5} for i in range(12)))
    monkeypatch.setenv("COLUMNS", "60")
    text = plain_text(protocol(), wide, Extras())
    assert max(len(line) for line in text.splitlines() if "organ" in line or "50.00" in line) <= 60
    assert text.count("50.00") == 13 and "[pilot scale]" in text and "best" not in text
    monkeypatch.delenv("COLUMNS")
    text = plain_text(protocol(), records({}, {"row": "b", "value": 0.6}), Extras())
    assert "60.00 ^" in text and "*" not in text and "±" not in text
    legend = "^ best row of each network, among rows with the same fine-tuning; Runs \N{MULTIPLICATION SIGN} patients: "
    assert legend in text


def test_the_head_of_a_page_says_which_data_set_has_no_results_yet(protocol, records, tmp_path):
    two = tuple(Finetune(dataset=d, split="even", steps=1) for d in ("organs", "hearts"))
    first = records({"section": "organs"})
    page = write(protocol(finetune=two), first, tmp_path, figures=False).page.read_text()
    facts = re.search("Data sets(.*?)Label fraction", page, re.DOTALL).group(1)
    assert facts.count("(no results yet)") == 1 and "hearts (no results yet)" in facts
    assert "organs (no results yet)" not in facts


def test_two_sections_on_one_data_set_have_panels_of_their_own(protocol, records, tmp_path):
    two = tuple(Finetune(dataset="organs", split="even", steps=n) for n in (1, 9))
    panels = (panel(), panel(section="organs#2"))
    write(protocol(finetune=two), records({}), tmp_path, Extras(panels=panels))
    assert {p.name for p in tmp_path.glob("panels*.png")} == {
        "panels_organs.png",
        "panels_organs_2.png",
    }
