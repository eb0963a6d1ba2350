"""What a cluster check says of a card."""

from types import SimpleNamespace

import pytest
import torch
from one_line import refusal

from bench.executors.slurm import check


@pytest.mark.parametrize(
    ("supported", "text"),
    [
        ((True, True), "bf16 is fast"),
        ((False, True), "emulated and slow: use fp16"),
        ((False, False), "not supported: use fp16"),
    ],
)
def test_a_card_is_told_with_memory_driver_and_what_bf16_does(monkeypatch, supported, text):
    """No card is here: torch's answers are stood in for."""
    native, emulated = supported
    cuda = torch.cuda
    memory = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(cuda, "get_device_properties", lambda number: memory)
    monkeypatch.setattr(cuda, "get_device_name", lambda number: "H100")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12040, raising=False)
    monkeypatch.setattr(
        cuda,
        "is_bf16_supported",
        lambda including_emulation=True: emulated if including_emulation else native,
    )
    assert check._card().startswith("H100, 80 GiB, the driver supports CUDA 12.4, ")
    assert text in check._card()


def test_without_slurm_one_line_says_so_and_no_folder_is_made(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refusal(capsys, "cluster", "check", "--out", tmp_path / "out")
    assert said.startswith("bench: no sbatch on this machine, so SLURM is not available here; ")
    assert not (tmp_path / "out").exists()
