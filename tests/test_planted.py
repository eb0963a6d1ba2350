"""Every planted error fits the source and names a test that is there; ``tests/planted.py`` plants them."""

from pathlib import Path

from planted import ERRORS, Planted, tried


def test_each_error_fits_its_source_exactly_once(request):
    misfits = {error.what: error.misfit(request.config.rootpath) for error in ERRORS}
    assert {what: why for what, why in misfits.items() if why} == {}
    assert [error.what for error in ERRORS if error.before == error.after] == []


def test_an_error_that_does_not_fit_is_said_and_nothing_is_changed(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    result = tried(Planted("twice", "a.py", "x = 1", "x = 2", "a.py"), tmp_path)
    assert result == "DOES NOT FIT (a.py holds 'x = 1' 2 times)"
    assert (
        tried(Planted("none", "b.py", "x", "y", "a.py"), tmp_path)
        == "DOES NOT FIT (b.py is not there)"
    )
    nobody = Planted("unseen", "a.py", "x = 1\nx", "x", "a.py::test_x[1]")
    assert tried(nobody, tmp_path) == "DOES NOT FIT (a.py has no test_x[1])"
    assert (tmp_path / "a.py").read_text() == "x = 1\nx = 1\n"


def test_every_room_has_errors_and_no_two_have_one_name(request):
    rooms = {path.parent.name for path in (request.config.rootpath / "bench").glob("*/*.py")}
    none = {"extras"}  # what is written for a person to change
    assert {
        Path(error.file).parts[1] for error in ERRORS if error.file.count("/") > 1
    } >= rooms - none
    assert {error.file.partition("/")[0] for error in ERRORS} == {"bench", "methods", "datasets"}
    assert len({error.what for error in ERRORS}) == len(ERRORS)
