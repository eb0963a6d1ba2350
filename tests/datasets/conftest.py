"""What the damaged trees share: phantoms made once, of which every test gets a copy."""

import pytest
from damage import Trees


@pytest.fixture(scope="session")
def trees(tmp_path_factory):
    return Trees(tmp_path_factory.mktemp("trees"))
