"""What tests of data sets share: phantoms, each made once; who damages one gets a copy."""

import pytest
from damage import Trees


@pytest.fixture(scope="session")
def trees(tmp_path_factory):
    return Trees(tmp_path_factory.mktemp("trees"))
