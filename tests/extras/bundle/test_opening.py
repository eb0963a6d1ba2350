"""Bundles that no honest command makes: each is refused by one line, or what is wrong with it is found."""

import io
import json
import warnings
import zipfile

import pandas as pd
import pytest
from bundles import changed, members

from bench.cli import main


def said(capsys, *arguments):
    """Run a command; return its exit code and its one line of error, or its text."""
    code = main([*map(str, arguments)])
    told = capsys.readouterr()
    assert "Traceback" not in told.err + told.out
    return code, (told.err if code == 2 else told.out).strip()


def test_an_honest_bundle_is_whole_and_draws_anywhere(made, tmp_path, capsys):
    assert said(capsys, "bundle", "verify", made) == (
        0,
        f"{made}: 9 members of test0: whole, and its tables come out again",
    )
    assert said(capsys, "report", made, "--to", tmp_path / "drawn")[0] == 0
    for table in ("table.csv", "table.md", "verdicts.csv"):
        assert (tmp_path / "drawn" / table).read_bytes() == members(made)[f"reports/test0/{table}"]
    code, text = said(capsys, "report", made, "--plain")
    assert code == 0 and "scratch" in text and "page: " not in text


REFUSED = {  # what is in the file: what is said of it
    "nothing": (b"", "damaged, or not an archive"),
    "text": (b"no zip at all", "damaged, or not an archive"),
    "half": (lambda raw: raw[: len(raw) // 2], "damaged, or not an archive"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("command", ["verify", "report", "compare"])
def test_what_is_no_bundle_is_one_line(made, tmp_path, capsys, what, command):
    content, why = REFUSED[what]
    file = tmp_path / "bad.zip"
    file.write_bytes(content(made.read_bytes()) if callable(content) else content)
    words = {
        "verify": ["bundle", "verify", file],
        "report": ["report", file, "--to", tmp_path / "to"],
        "compare": ["compare", file, made],
    }
    code, line = said(capsys, *words[command])
    assert code == 2 and why in line and str(file) in line and "\n" not in line


def added(file, name, content=b"x", mode=0o644, packed=zipfile.ZIP_STORED):
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a", packed) as found:
        warnings.simplefilter("ignore")  # a name twice
        info = zipfile.ZipInfo(name)
        info.external_attr, info.compress_type = mode << 16, packed
        found.writestr(info, content)
    return file


HOSTILE = {
    "out of its folder": (("files/../../x.yaml",), "leads out of its folder"),
    "absolute": (("/tmp/x.yaml",), "absolute path or"),
    "a link": (("files/x.yaml", b"/etc/passwd", 0o120777), "is a symbolic link"),
    "twice": (("records/test0.json",), "is in the archive twice"),
    "a bomb": (("files/x.yaml", b"0" * (200 << 20), 0o644, zipfile.ZIP_DEFLATED), "a zip bomb"),
    "a picture": (("reports/test0/panels.png",), "file 'reports/test0/panels.png' does not"),
    "a job": (("jobs/0123456789abcdef/manifest.json",), "refused, file 'jobs/"),
    "code": (("files/sitecustomize.py",), "does not belong in a bundle"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_member_that_no_bundle_has_is_refused(made, tmp_path, capsys, what):
    given, why = HOSTILE[what]
    code, line = said(capsys, "bundle", "verify", added(made, *given))
    assert code == 2 and why in line and "\n" not in line
    assert said(capsys, "report", made, "--to", tmp_path / "to")[0] == 2
    assert not (tmp_path / "to").exists()


def other(**facts):
    return lambda raw: {**raw, **facts}


MANIFESTS = {
    "schema": (other(schema=2), "its format is version 2, and this bench reads version 1"),
    "unknown": (other(colour="red"), "colour"),
    "nothing": (other(protocols={}), "it holds no protocol"),
    "elsewhere": (
        other(protocols={"test0": {"file": "../../x.yaml", "scale": "paper"}}),
        "does not list this file",
    ),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_says_something_else_is_refused(made, capsys, what):
    change, why = MANIFESTS[what]
    code, line = said(capsys, "bundle", "verify", changed(made, manifest=change))
    assert code == 2 and why in line and "\n" not in line


def rows(change):
    """Return a change of records as one of their bytes."""

    def made(raw):
        out = io.BytesIO()
        change(pd.read_parquet(io.BytesIO(raw))).to_parquet(out, index=False)
        return out.getvalue()

    return {"__parquet": made}


def text(old, new):
    return lambda raw: raw.replace(old, new)


CHANGED = {  # what is changed, and the manifest with it: what is found
    "a number": (
        {"table__csv": text(b"0.56", b"0.96")},
        "table.csv: differs from the tables drawn here",
    ),
    "a score": (rows(lambda t: t.assign(value=t["value"] + 0.03)), "table.md: differs"),
    "a title": ({"test0__yaml": text(b"title: Test", b"title: Best")}, "table.md: differs"),
    "a patient moves": ({"even__json": lambda raw: moved(raw)}, "the patients of fold 0 have hash"),
    "a stranger": (
        rows(lambda t: t.replace({"patient": {t["patient"][0]: "ann"}})),
        "'ann' is scored",
    ),
    "another split": (rows(lambda t: t.assign(split_hash="0" * 16)), "is not in the manifest"),
    "another scale": (rows(lambda t: t.assign(scale="smoke")), "scale 'smoke'"),
    "another protocol": (rows(lambda t: t.assign(protocol="x")), "has protocol 'x'"),
    "another row": (rows(lambda t: t.assign(row="best")), "has a row 'best'"),
    "another network": (rows(lambda t: t.assign(network="vnet/tiny")), "has network 'vnet/tiny'"),
    "another metric's way": (
        rows(lambda t: t.assign(convention="monai/default")),
        "has convention",
    ),
    "another section": (rows(lambda t: t.assign(section="x")), "no table can be drawn"),
    "a state": (rows(lambda t: t.assign(status="splendid")), "has a status 'splendid'"),
    "rows twice": (rows(lambda t: pd.concat([t, t])), "rows twice"),
    "no rows": ({"__parquet": lambda raw: b"nothing"}, "not a file of records"),
    "no facts": ({"records/test0__json": lambda raw: b"{"}, "damaged"),
    "no protocol": ({"test0__yaml": lambda raw: b"title: x\nrows: ["}, "not YAML"),
}


def moved(raw):
    lists = json.loads(raw)
    (fold,) = lists["folds"]
    fold["train"].append(fold["val"].pop())
    return json.dumps(lists).encode()


@pytest.mark.parametrize("what", CHANGED)
def test_what_was_changed_is_found_even_where_the_manifest_was_changed_with_it(made, capsys, what):
    parts, why = CHANGED[what]
    code, told = said(capsys, "bundle", "verify", changed(made, **parts))
    assert code == 1 and any(why in line for line in told.splitlines()), told
    assert "bench-" not in told  # no folder that is gone


def test_a_member_that_is_another_lost_or_too_many_is_named_and_nothing_is_drawn(
    made, tmp_path, capsys
):
    honest = made.read_bytes()
    changed(made, sealed=False, table__md=lambda raw: raw + b" ")
    code, told = said(capsys, "bundle", "verify", made)
    assert code == 1
    assert "reports/test0/table.md: is not what was bundled (its SHA-256 is another)" in told
    code, line = said(capsys, "report", made, "--to", tmp_path / "to")
    assert code == 2 and "is not what was bundled" in line and not (tmp_path / "to").exists()
    made.write_bytes(honest)
    assert (
        "files/more.yaml: is not in the manifest"
        in said(capsys, "bundle", "verify", added(made, "files/more.yaml"))[1]
    )
    with zipfile.ZipFile(made, "w") as found:
        for name, raw in members_but(honest, "results/reference.csv", tmp_path):
            found.writestr(name, raw)
    code, told = said(capsys, "bundle", "verify", made)
    assert code == 1 and "results/reference.csv: is lost" in told


def members_but(raw, left, folder):
    (folder / "honest.zip").write_bytes(raw)
    return [(n, r) for n, r in members(folder / "honest.zip").items() if n != left]


WRONG = [
    (["bundle", "verify"], "takes one FILE"),
    (["bundle", "verify", "a.zip", "b.zip"], "takes one FILE"),
    (["bundle", "verify", "absent.zip"], "absent.zip"),
    (["bundle", "no_such_protocol"], "no such file"),
    (["bundle", "pilot_lasc", "--json"], "only 'bench bundle verify FILE' has this flag"),
    (["report", "made.bench.zip"], "name a folder for its report with --to"),
    (["report", "made.bench.zip", "pilot_lasc", "--to", "x"], "is a bundle; give this file alone"),
    (["report", "made.bench.zip", "--scale", "pilot", "--to", "x"], "has one scale"),
]


@pytest.mark.parametrize("words, why", WRONG)
def test_a_wrong_request_is_one_line(made, capsys, words, why):
    if words[:1] == ["bundle"] and "verify" not in words:
        words = [*words, "--out", "out"]
    code, line = said(capsys, *words)
    assert code == 2 and why in line and "\n" not in line
