"""Reports in a real browser: read with any eyes, on a phone, from the disk. Numbers here are invented."""

import csv
import json
import sys
from itertools import product

import axe
import axe_core
import chromium
import numpy as np
import pytest
from invented import row_of
from look import main as look
from PIL import Image

from bench import record
from bench.errors import BenchError
from bench.protocol import Finetune, Layout, Net, Protocol, Row
from bench.report.index import write as write_index
from bench.report.spreadsheet import cell
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
from bench.report.write import write
from bench.source import Source

TITLE = "Masked autoencoders (a method whose name is as long as names of methods are)"
HEAD = '<!doctype html><html lang="en"><head><meta name="color-scheme" content="light dark"><title>T</title>'
BAD = f"""{HEAD}<link rel="preconnect" href="https://a.invalid"></head><body><main><h1>Bad</h1>
<p style="color:#aaa;background:#fff">faint</p><img src="http://b.invalid/x.png" alt="x">
<div style="width:900px"><p>wide</p></div><details><summary>More</summary><input></details>
<script>missing()</script></main></body></html>"""
GOOD = f"""{HEAD}</head><body><main><h1>Good</h1><p>plain</p>
<div style="overflow-x:auto" tabindex="0" role="region" aria-label="wide">
<div style="width:900px">wide, in a box that scrolls</div></div></main></body></html>"""


@pytest.fixture(scope="module")
def source():
    try:
        return axe_core.script()
    except BenchError as error:
        pytest.skip(str(error))


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that calls a command with arguments in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def called(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["tool", *arguments])
        return main()

    return called


@pytest.fixture(scope="module")
def browser():
    try:
        with chromium.Chromium() as started:
            started.ask("Browser.getVersion")
            yield started
    except BenchError as error:
        pytest.skip(str(error))


def planned(rows, sections=("organs",), **changes):
    """Return a protocol of rows on one network."""
    places = tuple(
        Finetune(dataset=s, split="even", steps=10, fractions=(10, 100)) for s in sections
    )
    return Protocol(
        title="Organs",
        name="test_page",
        paper="voco",
        table="table1",
        scale="pilot",
        rows=rows,
        networks={"net": Net("swin_unetr")},
        finetune=places,
        about="An invented study.",
        **changes,
    )


def scored(rows, sections=("organs",), targets=("liver", "spleen"), missing=()):
    """Return records of six patients and two seeds; the cells of ``missing`` rows at 10 % failed."""
    rng = np.random.default_rng(0)
    keys = ("row", "section", "fraction", "seed", "patient", "target")
    runs = product(rows, sections, (10, 100), (0, 1), [f"p{n}" for n in range(6)], targets)
    result = (dict(zip(keys, run, strict=True)) for run in runs)
    table = {"protocol": "test_page", "paper": "voco", "table": "table1"}
    lines = []
    for key in result:
        if key["row"] not in missing or key["fraction"] == 100:
            more = {"dataset": key["section"], "case": key["patient"], "params": ""}
            more |= {"method": rows[key["row"]].method, "n_train": key["fraction"] // 5}
            lines.append(row_of(**table, **key, **more, value=float(rng.uniform(0.4, 0.9))))
    return record.frame(lines)


def shown():
    """Return one prediction to draw."""
    image = np.linspace(20, 200, 32 * 32).reshape(32, 32).astype(np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 8:18] = 1
    return Panel("b", "organs", "c1", TITLE, image, mask, np.roll(mask, 2, 0))


def complete():
    """Return a report in which every part has something to say, of phantoms, one job failed."""
    rows = {
        "a": Row("scratch", "net"),
        "b": Row("mae3d", "net", title=TITLE),
        "c": Row("voco", "net"),
    }
    steps = tuple(float(s) for s in range(1, 9))
    down = tuple(2 / s for s in steps)
    extras = Extras(
        sources={
            "method/mae3d": Source(
                "A paper", "https://example.org/paper", "https://example.org/code"
            )
        },
        costs=(
            Cost("b", "pretrain", 7500.0, 2048.0, 100, 200, 10**9),
            Cost("b", "finetune", 60.0, 900.0),
        ),
        failures=(
            Failure("0" * 16, "c", "loss is not finite at step 7", "jobs/0/log.txt", "organs", 10),
        ),
        curves={"b": {"step": (1, 2, 3), "loss": (3.0, 2.0, 1.5)}},
        courses=tuple(Course(r, "organs", f, 0, steps, down) for r in "abc" for f in (10, 100)),
        pretexts=(
            Pretext(
                "b", "loss", 2.0, 0.2, 1.9, rises=False, collapsed=True, steps=steps, values=down
            ),
        ),
        clouds=(Cloud(TITLE, ((0.0, 0.1), (0.5, -0.5)), (0, 1), ("organs", "others")),),
        panels=(shown(),),
        datasets=(DatasetInfo("organs", "Organs", synthetic=True, redistribution=True),),
        provenance={"commit": "0" * 40, "date": "2000-01-01", "device": "cpu"},
        notes=("A note.",),
    )
    layout = Layout(groups={"Baselines": ("a",), "Pretrained": ("b", "c")})
    return planned(rows, layout=layout), scored(rows, missing=("c",)), extras


def many():
    """Return a report of 12 rows, wide as papers' tables are."""
    rows = {
        f"r{n}": Row("voco" if n else "scratch", "net", title=f"{TITLE} {n}") for n in range(12)
    }
    targets = tuple(f"vertebra {n}" for n in range(5))
    return planned(rows), scored(rows, targets=targets), Extras()


def empty():
    """Return a report of which nothing ran yet."""
    rows = {"a": Row("scratch", "net"), "b": Row("voco", "net")}
    return planned(rows, sections=("organs", "others")), record.frame([]), Extras()


def written(report, folder, **more):
    protocol, table, extras = report()
    return write(protocol, table, folder, extras, **more).page


@pytest.mark.parametrize("report", [complete, many, empty])
def test_a_report_has_nothing_wrong_in_a_browser(report, browser, source, tmp_path):
    wrong, _ = axe.findings(browser, written(report, tmp_path), source)
    assert not wrong, "\n".join(map(axe.line, wrong))


def test_the_index_has_nothing_wrong_in_a_browser(browser, source, tmp_path):
    for report in (complete, empty):
        written(report, tmp_path / report.__name__, figures=False)
    wrong, _ = axe.findings(browser, write_index(tmp_path), source)
    assert not wrong, "\n".join(map(axe.line, wrong))


PRESS = """(key => {
  const from = document.activeElement;
  from.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  return [document.activeElement.cellIndex, document.getElementById("tip").hidden,
          document.getElementById("tip").textContent];
})"""
TABLE = 'document.querySelector("#table table")'


def test_a_table_sorts_filters_and_says_more_to_keys_alone(browser, tmp_path):
    tab = browser.open(written(many, tmp_path, figures=False), width=1400, dark=False)
    tab.ask("Emulation.setFocusEmulationEnabled", enabled=True)
    firsts = f'[...{TABLE}.querySelectorAll("tbody.rows tr")].map(r => parseFloat(r.cells[1].dataset.sort))'
    drawn = tab.value(firsts)
    tab.value(f'{TABLE}.querySelector("thead button").click()')
    assert tab.value(firsts) == sorted(drawn, reverse=True) != drawn
    tab.value(f'{TABLE}.querySelector("thead button").click()')
    assert tab.value(firsts) == sorted(drawn)
    stops = tab.value(f"{TABLE}.querySelectorAll('[tabindex=\"0\"]').length")
    assert stops == 1
    tab.value(f"{TABLE}.querySelector('[tabindex=\"0\"]').focus()")
    at, hidden, wording = tab.value(f'{PRESS}("x")')
    assert not hidden and "95 % interval" in wording
    assert "records/test_page.parquet: row r" in wording
    position, hidden, other = tab.value(f'{PRESS}("ArrowRight")')
    assert position == at + 1 and not hidden and other != wording
    assert tab.value(f'{PRESS}("Escape")')[1]
    tab.value("""(() => { const i = document.querySelector("#table input"); i.value = "ARE) 1";
        i.dispatchEvent(new Event("input")); })()""")
    seen = tab.value(
        f'[...{TABLE}.querySelectorAll("tbody.rows tr")].filter(r => !r.hidden).length'
    )
    assert seen == 3  # 1, 10 and 11
    lines = tab.value(f"csv({TABLE})").splitlines()
    assert len(lines) == 4 and lines[0].startswith('"Method"')
    tex = tab.value('document.querySelector("#table pre.tex").textContent')
    assert tex.startswith("\\begin{tabular}")


CELLS = {  # in the page: in the CSV
    "-2+3+cmd|' /C calc'!A1": "'-2+3+cmd|' /C calc'!A1",
    "=1+1": "'=1+1",
    "  @SUM(A1)": "'@SUM(A1)",
    "+0.15": "+0.15",
    "\N{MINUS SIGN}0.15": "-0.15",
    "-1e-3": "-1e-3",
    "+12.5 %": "+12.5 %",
    "83.85": "83.85",
    "\N{MINUS SIGN}1.50+A1": "\N{MINUS SIGN}1.50+A1",
    "+0.15 (x)": "'+0.15 (x)",
    "\uff1d1": "'\uff1d1",
    'a "b"': 'a "b"',
}


def test_the_csv_button_guards_what_a_spreadsheet_would_run_and_leaves_numbers(browser, tmp_path):
    tab = browser.open(written(complete, tmp_path, figures=False), width=1400, dark=False)
    built = f"""(() => {{ const t = document.createElement("table"), r = t.insertRow();
        for (const text of {json.dumps([*CELLS])}) r.insertCell().textContent = text;
        document.body.append(t); return csv(t); }})()"""
    (line,) = csv.reader(tab.value(built).splitlines())
    assert line == [*CELLS.values()]
    ascii_minus = [text for text in CELLS if not text.startswith("\N{MINUS SIGN}")]
    for text in ascii_minus:
        assert cell(text).replace("'  ", "'") == CELLS[text]


def test_each_kind_of_wrong_is_found_and_none_where_there_is_none(
    browser, source, tmp_path, run, capsys
):
    for name, markup in (("bad", BAD + " " * axe.HEAVIEST), ("good", GOOD)):
        (tmp_path / f"{name}.html").write_text(markup)
    assert run(axe.main, "bad.html", "good.html", "--json") == 1
    reported = json.loads(capsys.readouterr().out)["violations"]
    assert {f["page"] for f in reported} == {"bad.html"}
    result = {f["rule"]: f for f in reported}
    assert result.keys() == {"color-contrast", "label", "overflow", "network", "script", "weight"}
    assert result["label"]["states"] == [
        f"{w} {c} open" for w in (1400, 390) for c in ("light", "dark")
    ]
    assert result["overflow"]["states"][0] == "390 light" and "wide" in result["overflow"]["first"]
    assert result["network"]["count"] == 2 and "missing is not defined" in result["script"]["first"]


def test_a_page_is_seen_wide_and_narrow_light_and_dark_and_as_it_prints(
    browser, tmp_path, run, capsys
):
    (tmp_path / "a.html").write_text(GOOD)
    assert run(look, "a.html", "--to", "seen") == 0
    for width, scheme in product((1400, 390), ("light", "dark")):
        with Image.open(tmp_path / "seen" / f"a-{width}-{scheme}.png") as picture:
            assert picture.width == width
            assert (sum(picture.convert("RGB").getpixel((0, 0))) > 3 * 128) == (scheme == "light")
    assert (tmp_path / "seen" / "a-print.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("tool", "arguments", "path", "wording"),
    [
        (axe.main, ("none.html",), None, "none.html: no such page"),
        (axe.main, (), None, "name a page"),
        (look, ("none.html", "--to", "x"), None, "none.html: no such page"),
        (look, (__file__, "--to", "x"), "", "no Chromium on the PATH"),
        (axe.main, ("--fetch",), "", "no npm on the PATH"),
    ],
)
def test_a_wrong_request_gets_one_line_and_2(
    tool, arguments, path, wording, monkeypatch, tmp_path, run, capsys
):
    monkeypatch.setattr(axe_core, "script", str)
    monkeypatch.setattr(axe_core, "PACK", tmp_path / "none.tgz")
    if path is not None:
        monkeypatch.setenv("PATH", path)
        monkeypatch.delenv("CHROMIUM", raising=False)
    assert run(tool, *arguments) == 2
    err = capsys.readouterr().err
    assert wording in err and err.count("\n") == 1


def test_another_package_than_the_one_that_was_pinned_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(axe_core, "PACK", tmp_path / "axe.tgz")
    with pytest.raises(BenchError, match="no axe-core; python tools/browser/axe"):
        axe_core.script()
    axe_core.PACK.write_bytes(b"another")
    with pytest.raises(BenchError, match="by its hash; delete it"):
        axe_core.script()


def test_a_browser_that_does_not_start_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "false")
    with (
        pytest.raises(BenchError, match="Chromium ended, or did not start"),
        chromium.Chromium() as browser,
    ):
        browser.ask("Browser.getVersion")
