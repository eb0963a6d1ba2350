"""HSSL: tell slices apart, name their data set and their group, and restore them, all at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.method import Batch, Entry, Figure, Method, Restores, Triple
from bench.nets import Network
from bench.pretext.contrast import view_contrast
from bench.pretext.heads import mlp
from bench.pretext.losses import classified, full_precision
from bench.pretext.pyramid import PyramidVector
from bench.pretext.slice_views import SliceViews
from bench.ranges import Amount, Count, Positive, Whole
from bench.source import Source

Restore = Literal["mse", "l2norm", "sse"]


class HSSL(Method):
    """Zheng et al. 2021: image, task and group level on one vector of five scales, and a decoder."""

    title = "HSSL"
    version = 2  # 2: noise in units of the views, chance by data set
    paper = "hssl"
    dims = 2
    needs = "decoder"
    source = Source(
        "Zheng et al., Hierarchical Self-Supervised Learning for Medical Image Segmentation, MICCAI 2021",
        "https://arxiv.org/abs/2107.04886",
    )
    fidelity = (
        "paper only: no code was released; layer sizes, temperature and amounts of views assumed"
    )
    figure = Figure(
        "retrieval", "views whose nearest view is their positive", "chance", weight="image_weight"
    )
    min_batch = 2  # one slice has no negatives

    @dataclass(frozen=True)
    class Params(Restores, SliceViews):
        """Weights of 0 are Table 4's ablations: such a part, and its head, are not there."""

        image_weight: Amount = 1 / 3  # Section 2.2, lambda 1
        task_weight: Amount = 1 / 3  # Section 2.2, lambda 2
        group_weight: Amount = 1 / 3  # Section 2.2, lambda 3
        rec_weight: Amount = 50.0  # Section 2.2, lambda 4
        tasks: Count = 8  # Table 1
        groups: Count = 4  # Table 1
        temperature: Positive = 0.1  # assumed: SimCLR's code; the paper has no number
        # Section 2.2: the sum over pairs / pairs
        reduction: Literal["sum_pairs", "mean2N"] = "sum_pairs"
        rec: Restore = "mse"  # assumed; Section 2.2 as written: l2norm, which outweighs all else
        aux_input: Literal["views", "raw"] = "views"  # assumed; Section 2.2 as written: raw
        # Section 2.2: the feature pyramid; the coarsest n otherwise
        pyramid_levels: int | None = None
        compress: Whole = 128  # assumed: channels of each level; 0 = its averages as they are
        proj_layers: Count = 2  # assumed: SimCLR's
        hidden: Count = 512  # assumed
        out: Count = 128  # assumed: SimCLR's
        batch_norm: bool = False  # assumed: "FC layers" (Section 3)
        init_decoder: bool = True  # Section 2.2; no = only the encoder is handed over

        def __post_init__(self) -> None:
            weights = self.weights()
            if not any(weights.values()):
                names = ", ".join(f"{name}_weight" for name in weights)
                raise self.refusal(f"{names} are all 0, so there is nothing to learn")

        def weights(self) -> dict[str, float]:
            """Return lambda 1 to 4 under the names of their terms."""
            return {n: getattr(self, f"{n}_weight") for n in ("image", "task", "group", "rec")}

        def classes(self) -> dict[str, int]:
            """Return how many classes each level that is learned has."""
            counts = {"task": self.tasks, "group": self.groups}
            return {name: n for name, n in counts.items() if self.weights()[name]}

        @property
        def crops_per_sample(self) -> float:
            """Two views, and the slice itself where ``aux_input`` is ``raw``."""
            return 3 if self.aux_input == "raw" else 2

        def check_data(self, data: Sequence[Entry]) -> None:
            """Refuse a data set without the classes that are learned, or with one beyond their number."""
            for level, count in self.classes().items():
                for part in data:
                    label = getattr(part, level)
                    if label is None or not 1 <= label <= count:
                        found = f"no {level} class" if label is None else f"{level} class {label}"
                        raise self.refusal(
                            f"data set {part.dataset!r} of the mixture has {found}; write '{level}: N', with "
                            f"N from 1 to {count}, next to the data set, or change {level}s or "
                            f"{level}_weight"
                        )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Make two views of each slice; its classes stay with them, and where it is read, the slice."""
            raw = {"raw": batch["crop"]} if self.aux_input == "raw" else {}
            kept = {name: batch[name] for name in self.classes()}
            return {**super().views(batch, crop, generator), **raw, **kept}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p = params
        classes = p.classes()
        # without a loss on the vector nothing would train these layers
        compress = p.compress if p.image_weight or classes else 0
        self.pyramid = PyramidVector(network.encoder.widths, p.pyramid_levels, compress)
        head = [self.pyramid.width, *[p.hidden] * (p.proj_layers - 1), p.out]
        norm: Literal["batch", "none"] = "batch" if p.batch_norm else "none"
        self.projector = mlp(head, norm) if p.image_weight else nn.Identity()
        heads = {name: nn.Linear(self.pyramid.width, n) for name, n in classes.items()}
        self.classifiers = nn.ModuleDict(heads)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return each part that has a weight, their weighted sum, and what shows learning.

        ``retrieval``, ``chance`` and ``std`` are always there: of the projections, or where the image
        level is off, of the vector of all scales.
        """
        x = batch["views"].flatten(0, 1)
        features = self.encoder(x)
        vector = self.pyramid(features)
        terms = self._image(vector, batch)
        if self.params.aux_input == "raw":
            x = batch["raw"]
            features = self.encoder(x)
            vector = self.pyramid(features)
        for level, head in self.classifiers.items():
            label = (batch[level] - 1).repeat_interleave(len(x) // len(batch[level]))
            terms[level], terms[f"{level}_accuracy"] = classified(head(vector), label)
        if self.params.rec_weight:
            terms["rec"] = restored(self.decoder(x, features), x, self.params.rec)
        weights = self.params.weights()
        parts = [weight * terms[name] for name, weight in weights.items() if weight]
        return {"total": torch.stack(parts).sum(), **terms}

    def _image(self, vector: Tensor, batch: Batch) -> dict[str, Tensor]:
        p = self.params
        value, shown = view_contrast(self.projector(vector), batch, p.temperature)
        value = 2 * value if p.reduction == "sum_pairs" else value
        return {"image": value, **shown} if p.image_weight else shown

    def transfer(self) -> dict[str, Tensor]:
        """Return the encoder, and the decoder where it was trained and ``init_decoder`` says so."""
        whole = self.params.rec_weight and self.params.init_decoder
        return self.handed("encoder", "decoder") if whole else self.handed("encoder")


@full_precision
def restored(image: Tensor, target: Tensor, kind: Restore) -> Tensor:
    """Return the mean over images of the mean square of the error, of its sum, or of its root."""
    error = (image - target).flatten(1)
    if kind == "l2norm":
        return torch.linalg.vector_norm(error, dim=1).mean()
    squares = error.square()
    return squares.mean() if kind == "mse" else squares.sum(1).mean()
