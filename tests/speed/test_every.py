"""What docs/speed.md quotes can be run by ``make speed``, and all that this runs is quoted."""

import re

import every
from machine import HERE, quiet

PAGE = (HERE / "docs" / "speed.md").read_text()


def test_every_script_of_the_page_is_run():
    quoted = set(re.findall(r"tests/speed/(\w+)\.py", PAGE))
    assert quoted == {script.file.stem for script in every.SCRIPTS}
    assert all(script.file.is_file() for script in every.SCRIPTS)


def test_a_need_that_is_not_met_leaves_a_script_out(monkeypatch, capsys):
    monkeypatch.delenv("SLURM_CONF", raising=False)
    assert every.main(["packing"]) == 0
    assert capsys.readouterr().out == "packing: left out, it needs a running SLURM: set SLURM_CONF\n"


def test_a_name_that_is_none_is_refused(capsys):
    assert every.main(["vews"]) == 2
    assert "ONLY=vews: no such script; there are commands" in capsys.readouterr().err


def test_quiet_is_said_by_what_others_use():
    assert quiet(0.04).startswith("quiet: 4 % of")
    assert quiet(0.97).startswith("not quiet: 97 % of")
