"""Jobs of blobs by hand: a few with nothing done, and more that are prepared."""

import blobs
import pytest


def outlined(folder, patch, cases):
    blobs.register(patch, folder)
    return blobs.Jobs(folder / "out", "outlined_blobs", blobs.write(folder / "data", cases))


@pytest.fixture
def jobs(tmp_path):
    """Jobs of five outlined blobs."""
    with pytest.MonkeyPatch.context() as patch:
        yield outlined(tmp_path, patch, 5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Jobs of outlined blobs, prepared."""
    with pytest.MonkeyPatch.context() as patch:
        found = outlined(tmp_path_factory.mktemp("made"), patch, 24)
        found.done(found.prepare())
        yield found
