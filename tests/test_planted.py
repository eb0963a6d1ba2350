"""Every planted error fits the source; ``tests/planted.py`` plants them."""

import pytest
from planted import ERRORS, Planted, tried


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.what)
def test_an_error_fits_its_source_exactly_once(error, request):
    assert error.misfit(request.config.rootpath) == ""
    assert error.before != error.after


def test_an_error_that_does_not_fit_is_said_and_nothing_is_changed(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    result = tried(Planted("twice", "a.py", "x = 1", "x = 2", "a.py"), tmp_path)
    assert result == "DOES NOT FIT (a.py holds 'x = 1' 2 times)"
    assert tried(Planted("none", "b.py", "x", "y", "a.py"), tmp_path) == "DOES NOT FIT (b.py is not there)"
    assert (tmp_path / "a.py").read_text() == "x = 1\nx = 1\n"
