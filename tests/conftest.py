"""What every room's tests share: no network, phantoms made once, small protocols by keyword."""

import copy
import socket

import pytest
import yaml

from bench import registry
from bench.strict import overlay

NAME, CASES = "msd04_hippocampus", 20  # by rule: 15 train, 3 validate, 2 test


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that opens an internet connection fails; pipes and local sockets stay."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        raise AssertionError(f"a test tried to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """Return DATA, a folder as ``--data`` takes it, with one small synthetic data set."""
    data = tmp_path_factory.mktemp("data")
    (data / NAME).mkdir()
    registry.load("dataset", NAME).phantom(data / NAME, CASES, 0)
    return data


BASE = {
    "title": "Test",
    "networks": {"net": {"network": "unet3d", "preset": "tiny", "crop": [32, 32, 32]}},
    "rows": {
        "alone": {"method": "scratch", "network": "net"},
        "pair": {"method": "simclr3d", "network": "net"},
    },
    "pretrain": {"datasets": [{"dataset": NAME}], "steps": 8},
    "finetune": [
        {"dataset": NAME, "split": "rule", "fractions": [25, 100], "seeds": [0, 1], "steps": 6,
         "hold": "steps"}
    ],
}  # fmt: skip


@pytest.fixture
def small():
    """Return a function from changes, laid over a small protocol, to its plain values."""

    def changed(changes=None):
        value = overlay(copy.deepcopy(BASE), changes or {})
        value["rows"] = {k: v for k, v in value["rows"].items() if v is not None}
        return value

    return changed


@pytest.fixture
def protocol_file(tmp_path, small):
    """Return a function that writes the small protocol, changed, and returns its path."""

    def write(changes=None, name="test.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(small(changes), sort_keys=False))
        return path

    return write
