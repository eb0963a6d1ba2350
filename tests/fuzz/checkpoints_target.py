"""What training leaves and reads again: states, weights, packs of arrays, sampled voxels."""

import numpy as np
import torch
from small_prepared import write_prepared
from target import Folder, tried

import bench
from bench.data import cache
from bench.data.cache import Pack, PackWriter
from bench.data.prepared import Prepared
from bench.nets import transfer
from bench.train import checkpoint


class Checkpoints(Folder):
    """One file of these, damaged, then read as a job does."""

    def make(self):
        torch.set_num_threads(1)
        self.network = bench.network("unet3d", "tiny", 1, 3)
        small = {k: v for k, v in self.network.state_dict().items() if v.numel() < 500}
        self.steps, self.packs = self.folder / "steps", self.folder / "packs"
        self.steps.mkdir()
        self.packs.mkdir()
        for step in (2, 4):
            state = {"model": small, "curve": [{"step": step, "loss": 0.5}], "rng": b"x"}
            checkpoint.save(self.steps, step, state)
        weights = self.folder / "weights.safetensors"
        says = transfer.Manifest(
            "unet3d", "tiny", 1, 3, (32, 32, 32), labels=("background", "a", "b")
        )
        transfer.save(weights, self.network.state_dict(), says)
        label = np.random.default_rng(0).integers(0, 9, (40, 33, 20)).astype(np.uint8)
        arrays = {
            "image": label[None].astype(np.int16),
            "label": label,
            "native": label,
            "foreground": np.zeros((5, 3), np.int16),
            "fingerprint": label[None, :9, :9, :9].copy(),
        }
        write_prepared(self.packs, {"a": arrays, "b": arrays})
        with PackWriter(self.packs, "prediction") as pack:
            pack.add("a", label)

    def read(self, draw, path):
        if path.parent == self.steps:
            # as if its digest, which is in its name, held
            tried(checkpoint.read, path.read_bytes())
            tried(checkpoint.latest, self.steps)
        elif path.parent == self.packs:
            try:
                tried(self._unpack)
            finally:
                cache._frame.cache_clear()
                cache._mapped.cache_clear()
        elif (found := tried(transfer.read, path)) is not None:
            tried(transfer.rehearse, found[0], self.network, found[1])
            tried(transfer.load, self.network, *found)

    def _unpack(self):
        prepared = Prepared(self.packs)
        for case in prepared.cases():
            volume = prepared.volume(case.id)
            volume.crop((0, 0, 0), (16, 16, 16))
            if case.label is not None:
                volume.crop_label((5, 5, 5), (16, 16, 16))
                np.shape(volume.foreground)
                prepared.native(case.id)
            prepared.fingerprint(case.id)
            prepared.geometry(case.id)
        predicted = Pack(self.packs, "prediction")
        for case in predicted:
            predicted[case][:]
