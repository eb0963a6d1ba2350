"""What training leaves and reads again: states, weights, packs of arrays, sampled voxels."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import torch
from target import Target, tried

import bench
from bench.data import cache
from bench.data.cache import Pack, PackWriter, compress
from bench.data.prepared import Prepared
from bench.data.shards import Gathered, Made, Writer, join
from bench.dataset import Case
from bench.nets import transfer
from bench.train import checkpoint
from bench.volumes.resampling import Geometry

MANIFEST = {
    "network": "unet3d", "preset": "tiny", "in_channels": 1, "out_channels": 3, "crop": (32, 32, 32),
    "method": "scratch", "key": "0" * 16, "step": 4, "labels": ("background", "a", "b"),
}  # fmt: skip


class Checkpoints(Target):
    """One file of these, damaged, then read as a job does."""

    name, slow = "checkpoints", 4_500

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self.folder = folder
        self.network = bench.network("unet3d", "tiny", 1, 3)
        self.small = {k: v for k, v in self.network.state_dict().items() if v.numel() < 500}
        self.steps, self.packs = folder / "steps", folder / "packs"
        self.steps.mkdir()
        self.packs.mkdir()
        for step in (2, 4):
            checkpoint.save(
                self.steps, step, {"model": self.small, "curve": [{"step": step, "loss": 0.5}], "rng": b"x"}
            )
        self.weights = folder / "weights.safetensors"
        transfer.save(self.weights, self.network.state_dict(), transfer.Manifest(**MANIFEST))
        self._packed()
        found = [*self.steps.iterdir(), *self.packs.iterdir(), self.weights]
        self.files = {p: p.read_bytes() for p in sorted(found)}

    def _packed(self) -> None:
        """A prepared data set as its job writes it, and beside it a pack of predictions."""
        rng, shape = np.random.default_rng(0), (40, 33, 20)
        grid = Geometry(shape, (1.0, 1.0, 1.0), ((0, 40), (0, 33), (0, 20)), shape)
        cases, content = [Case(name, name, ()) for name in ("a", "b")], "00" * 16
        with Writer(self.folder / "shards") as writer, PackWriter(self.packs, "prediction") as pack:
            for case in cases:
                label = rng.integers(0, 9, grid.shape).astype(np.uint8)
                arrays = {
                    "image": rng.integers(0, 9, (1, *grid.shape)).astype(np.int16), "label": label,
                    "native": label, "foreground": np.zeros((5, 3), np.int16),
                    "fingerprint": rng.integers(0, 9, (1, 9, 9, 9)).astype(np.uint8),
                }  # fmt: skip
                frames = {name: compress(array) for name, array in arrays.items()}
                writer.add(Made(case.id, content, grid, 1.0, 0.0, frames))
                pack.add(case.id, label)
        join(Gathered(self.folder / "shards", dict.fromkeys("ab", content)), self.packs, cases)

    def once(self, rng: random.Random) -> None:
        kind = rng.choice((self._step, self._weights, self._pack, self._pack))
        kind(rng)

    def _damage(self, rng: random.Random, path: Path) -> bytes:
        raw = self.files[path]
        raw = mutate.as_json(rng, json.loads(raw)) if path.suffix == ".json" else mutate.damaged(rng, raw)
        path.write_bytes(raw)
        return raw

    def _step(self, rng: random.Random) -> None:
        states = [p for p in self.files if p.suffix == ".pt"]
        path = rng.choice(states)
        raw, renamed = self._damage(rng, path), None
        if rng.random() < 0.5:
            digest = hashlib.sha256(raw).hexdigest()[:16]
            renamed = path.rename(path.with_name(f"{path.stem.rpartition('-')[0]}-{digest}.pt"))
        try:
            data = tried(checkpoint.latest, self.steps)
            if data:
                tried(checkpoint.read, data)
        finally:
            if renamed is not None:
                renamed.unlink(missing_ok=True)
            for state in states:
                state.write_bytes(self.files[state])

    def _weights(self, rng: random.Random) -> None:
        raw = self.files[self.weights]
        (size,) = struct.unpack("<Q", raw[:8])
        if rng.random() < 0.8:
            head = self._head(rng, json.loads(raw[8 : 8 + size]))
            raw = struct.pack("<Q", rng.choice((len(head),) * 9 + (2**63, 0))) + head + raw[8 + size :]
        else:
            raw = mutate.damaged(rng, raw)
        self.weights.write_bytes(raw)
        found = tried(transfer.read, self.weights)
        if found is not None:
            load = transfer.load if rng.random() < 0.2 else transfer.rehearse
            given = (self.network, found[0]) if load is transfer.load else (found[0], self.network)
            tried(load, *given, found[1])

    def _head(self, rng: random.Random, head: Any) -> bytes:
        manifest = json.loads(head["__metadata__"]["bench.manifest"])
        if rng.random() < 0.7:
            head["__metadata__"]["bench.manifest"] = mutate.as_json(rng, manifest).decode("utf-8", "replace")
            return json.dumps(head).encode()
        return mutate.as_json(rng, head)

    def _pack(self, rng: random.Random) -> None:
        path = rng.choice([p for p in self.files if p.parent == self.packs])
        self._damage(rng, path)
        try:
            tried(self._read, self.packs)
        finally:
            cache._frame.cache_clear()
            cache._mapped.cache_clear()
            path.write_bytes(self.files[path])

    def _read(self, folder: Path) -> None:
        prepared = Prepared(folder)
        for case in prepared.cases():
            volume = prepared.volume(case.id)
            volume.crop((0, 0, 0), (16, 16, 16))
            if case.label is not None:
                volume.crop_label((5, 5, 5), (16, 16, 16))
                np.shape(volume.foreground)
                prepared.native(case.id)
            prepared.fingerprint(case.id)
            prepared.geometry(case.id)
        predicted = Pack(folder, "prediction")
        for case in predicted:
            predicted[case][:]
