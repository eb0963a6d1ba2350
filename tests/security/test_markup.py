"""Names that come from data are printed as they stand: in HTML, LaTeX, Markdown, CSV and figures."""

import csv
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.text import Text

from bench.errors import printable
from bench.report.canvas import words
from bench.report.spreadsheet import CELL_COLUMNS, table_csv
from bench.report.supplement import Cost, Course, DatasetInfo, Extras, Failure, Panel, Pretraining
from bench.report.tex import SPECIAL, escape
from bench.report.write import context_of, write
from bench.source import Source

ATTACKS = {
    "script": "<script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)" x=\'" style=a:b',
    "template": "{{ 7*7 }}{% include '/etc/passwd' %}{# x #}${7*7}",
    "entity": "&lt;b&gt; &#x3c;img src=x onerror=alert(1)&#x3e;",
    "comment": "--><svg/onload=alert(1)><!-- ]]> </title></style></textarea>",
    "tex": r"\input{/etc/passwd}\write18{id}\immediate\openout5=x \csname end\endcsname \end{tabular}",
    "tex carets": "^^5cinput ^^M ~$x_{1}$ % & # _ \\\\ [1ex] *",
    "pipes": "a|b\n\n| c | d |\n|---|---|\n# title\n- item\n```\n[x](javascript:alert(1)) ![x](http://evil/x)",
    "mathtext": "$\\frac{1}{$ $x$ \\$ $$ $\\undefined$",
    "formula": "=cmd|' /C calc'!A0",
    "terminal": "\x1b]0;title\x07\x1b[2Jx\x9b31m\u202egnp.\u2028\r\t\x00",
}


LINKS = r"#[a-z]+(-[a-z]+)?$|https?://|data:image/png;base64,"


class Page(HTMLParser):
    """Collects tags and attributes, comments, and the text."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.comments, self.text = [], set(), [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {(tag, key) for key, _ in attrs}
        for key, value in attrs:
            assert key not in ("href", "src") or re.match(LINKS, value)

    def handle_comment(self, data):
        self.comments.append(data)

    def handle_data(self, data):
        self.text += data


def extras(text):
    mask = np.eye(6, dtype=np.uint8)
    return Extras(
        sources={
            "method/voco": Source(text, f"javascript:{text}", text),
            "method/scratch": Source(text, f"https://x/{text}", text),
            "dataset/organs": Source(text, f"https://x> {text}", text),
        },
        titles={"voco": text, "scratch": text},
        costs=(Cost(text, text, 1.0, 2.0, 3, 4, 5),),
        failures=(Failure(*[text] * 4), Failure("j", "b", text, text, section="elsewhere")),
        notes=(text,),
        curves={text: {"step": (1, 2), "loss": (2.0, 1.0), f"_{text}": (1.0, 1.0)}},
        courses=tuple(Course(row, text, 10, 0, (1.0, 2.0), (2.0, 1.0)) for row in ("b", text)),
        panels=(Panel("b", "organs", text, text, mask, mask, mask, 1.0),),
        provenance={text: text},
        datasets=(DatasetInfo("organs", text, licence=text, redistribution=True),),
        pretrainings=(Pretraining(("b",), (text,), (1, 1), (2, 2), 1, text, 0.1, text, text),),
        overrides=(text,),
    )


@pytest.mark.parametrize("what", ATTACKS)
def test_no_name_adds_a_tag_an_attribute_or_a_script_to_the_page(what, report_of, tmp_path):
    plain, page = Page(), Page()
    for found, text in ((plain, "abc"), (page, ATTACKS[what])):
        made = write(*report_of(text), tmp_path, extras(text), figures=False)
        found.feed(made.page.read_text(encoding="utf-8"))
    assert set(page.tags) <= set(plain.tags) | {"a"} and page.tags.count("script") == 1
    assert page.attributes <= plain.attributes
    assert page.comments == []
    if "\n" not in ATTACKS[what] and what not in ("terminal", "entity"):
        assert page.text.count(ATTACKS[what]) >= 20


@pytest.mark.parametrize("what", ATTACKS)
def test_latex_has_no_command_that_is_not_the_reports_own(what, report_of, tmp_path):
    def commands(text):
        found = write(*report_of(text), tmp_path, extras(text), figures=False).tex.read_text()
        body = "\n".join(line for line in found.splitlines() if not line.startswith("% "))
        assert body.replace("\n", "") == printable(body.replace("\n", ""))
        bare = re.sub(r"\\[\\&%$#_{}]", "", body)
        assert bare.count("{") == bare.count("}")
        assert not re.search(r"[%#_^]", bare.replace("^\\circ", ""))
        return set(re.findall(r"\\([A-Za-z]+|[^A-Za-z])", body)), body.count(r"\end{tabular}")

    own = {c for value in SPECIAL.values() for c in re.findall(r"\\([A-Za-z]+|[^A-Za-z])", value)}
    (plain, tables), (found, same) = commands("abc"), commands(ATTACKS[what])
    wide, _ = commands("abc " * 30)  # columns of long texts have a width
    assert found <= plain | wide | own and same == tables


@pytest.mark.parametrize("what", ATTACKS)
def test_markdown_keeps_its_tables_and_gains_no_markup(what, report_of, tmp_path):
    def markdown(text):
        made = write(*report_of(text), tmp_path, extras(text), figures=False)
        return made.markdown.read_text()

    plain, text = markdown("abc"), markdown(ATTACKS[what])
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert set(re.findall(r"<(/?[a-z]+)", text)) <= {"sup", "/sup", "u", "/u", "https"}
    assert not re.search(r"(?<!\\)\]\(|```", text)
    assert "\x1b" not in text and "\u202e" not in text
    assert len(re.findall("^#", text, re.MULTILINE)) == len(re.findall("^#", plain, re.MULTILINE))
    assert re.findall(r"<https[^>]*>", text) in ([], [f"<https://x/{ATTACKS[what]}>"])


FORMULAS = ("=1+1", "-1+1", "+1-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1+1", "+0.15+A1")
FORMULAS += ("=cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", '=HYPERLINK("x")', "-", "+x")
FORMULAS += ("\uff1d1+1",)
NUMBERS = ("+1", "-0.15", "+.5", "-1e-3", "+12 %", "-3.", "+1E5")
PLAIN = ("voco, 5 %", 'a "quoted" name', "a=b", "1-2", "左心房", *NUMBERS)


@pytest.mark.parametrize("text", FORMULAS + PLAIN)
def test_no_cell_of_the_csv_is_a_formula_and_what_is_none_stands_as_it_is(text, report_of):
    lines = list(csv.reader(table_csv(context_of(*report_of(text), Extras())).splitlines()))
    assert {len(line) for line in lines} == {len(CELL_COLUMNS)}
    cells = [c for line in lines[1:] for c in line]
    assert {f"'{text}", f"'{printable(text)}", printable(text)} & {*cells}  # the whole name is kept
    assert (text in cells) == (text in PLAIN)
    begins = [c for c in cells if c.strip()[:1] in (*"=+-@\uff1d",) and c not in NUMBERS]
    assert not [c for c in begins if not re.fullmatch(r"-?\d+\.\d+", c)]


@pytest.mark.usefixtures("pdfs")
def test_figures_draw_every_name_as_plain_text(report_of, tmp_path, monkeypatch):
    parsed = []
    own = Text.set_parse_math
    monkeypatch.setattr(Text, "set_parse_math", lambda self, on: (parsed.append(on), own(self, on)))
    text = "".join(ATTACKS.values()) + "x" * 3000
    protocol, rows = report_of(text)
    protocol = replace(protocol, rows={"_hidden": protocol.rows[text], **protocol.rows})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # e.g. a glyph that is missing, a label that is left out
        made = write(protocol, rows, tmp_path, extras(text))
    drawn = {"fractions.png", "curves.pdf", "training.pdf", "panels_organs.png"}
    assert {p.name for p in made.figures} >= drawn
    assert all(300 < p.stat().st_size < 2_000_000 for p in made.figures)
    assert parsed and not any(parsed)


def test_a_word_in_a_figure_is_one_line_and_never_hidden_from_its_legend():
    assert words("_a") == " _a"
    assert words("a\nb\x1b") == "a\\nb\\x1b"
    long = words("x" * 3000)  # no name is so long
    assert long.count("\n") == 15 and long.endswith("…")
    assert words("Portal_and_splenic_veins of both", 12) == "Portal_and_\nsplenic_\nveins of\nboth"
    assert words("one, the_other", 10) == "one,\nthe_other"


def test_every_character_alone_survives_latex():
    for number in range(0x250):
        found = escape(chr(number))
        commands = r"\\[\\&%$#_{}]|\\[A-Za-z]+|\{\[\}|\{\]\}|\{\*\}|\{-\}|\{\}|\^\\circ"
        assert not set(re.sub(commands, "", found)) & set("\\%$#_^&"), found
