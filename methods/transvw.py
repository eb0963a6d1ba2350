"""TransVW: name the place in the body that a spoilt crop shows, and restore the crop."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.augment.draw import chance
from bench.augment.values import bell
from bench.constants import constant
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, Entry, Figure, Method, Recipe, Restores, Triple
from bench.nets import Network
from bench.pretext import deform
from bench.pretext.boxes import read_at
from bench.pretext.losses import classified, full_precision, mean_squared
from bench.random import rand
from bench.ranges import Amount, Count, Factors, Positive, Range, Share, Whole
from bench.source import Source

Border = Annotated[Triple, Range(0, order=False)]
Part = Annotated[float, Range(0, 1, below=True)]
TRIES = 200  # of a place that lies far enough from the others, as in the code


class TransVW(Method):
    """Haghighi et al. 2021: a visual word is what all scans show at one place; no autoencoder picks scans."""

    title = "TransVW"
    needs = "decoder"
    source = Source(
        "F. Haghighi et al., Transferable Visual Words: Exploiting the Semantics of Anatomical Patterns for "
        "Self-supervised Learning, IEEE TMI 2021",
        "https://arxiv.org/abs/2102.10680",
        "https://github.com/fhaghighi/TransVW",
    )
    figure = Figure("named", "crops whose visual word was predicted correctly", "chance")
    terms: ClassVar = {"copied": "error of the input itself"}
    fidelity = "official code compared: deformations, head and losses; words hold all scans, see docs/methods"
    min_batch = 2  # batch norm in the head, where the last map is a single cell

    @dataclass(frozen=True)
    class Params(Restores):
        """Defaults are the code's (pattern_generator_3D.py, train.py, purturbation.py)."""

        words: Count = 44  # code, cls_classes; 50 were released, the generator's default is 200
        apart: Share = 0.02  # code: 5 voxels, where starts have a range of about 250
        # code: 100, 100, 30 voxels of a chest CT, where no word begins or ends
        border: Border = (0, 0, 0)
        places_seed: Whole = 1  # code: seed 1; other numbers give other words
        # assumed: groups of like scans with words of their own; the mixture's `task`
        tasks: Count = 1
        rescaled: Share = 2 / 3  # code, multi_res: two of three crops differ in size and place
        rescale: Factors = (50 / 64, 80 / 64)  # code, factor of both sides in the plane
        shift: Share = 10 / 64  # code, at most, of these sides
        # assumed: where a crop (prepared intensities) is flatter, another word's
        least_std: Amount = 0.01
        tries: Count = 10  # assumed
        elastic_rate: Share = 1.0  # code
        elastic: Amount = 991.0  # code, alpha: height of the smoothed field, in voxels
        elastic_sigma: Positive = 8.0  # code, voxels
        undo_elastic: bool = True  # code: the crop to restore is not warped; off = it is
        local_rate: Share = 0.25  # code; of the four that follow a crop gets one
        nonlinear_rate: Share = 0.25  # code
        inpaint_rate: Share = 0.25  # code
        outpaint_rate: Share = 0.25  # code
        windows: Count = 5  # code; Models Genesis has 10,000
        bezier_points: Count = 100_000  # code
        rises: Share = 0.5  # code, probability that the curve keeps dark dark
        boxes: Count = 1  # code, painted in or around
        margin: Whole = 3  # code, voxels at the border without a box
        scale_unit: Literal["crop", "deform", "none"] = "crop"  # code: all data lie in [0, 1]
        sigmoid: bool = True  # code
        image_weight: Amount = 1.0  # code, lambda_rec; 0 = words alone (code: exp 'en')
        word_weight: Positive = 0.01  # code, lambda_cls
        warm: Part = 0.0  # code: a run on words alone may go first; share of the steps
        hidden: Count = 1024  # code, channels of the head's convolution
        transfer: Literal["all", "encoder"] = "all"  # code: all to segment, the encoder to classify

        def __post_init__(self) -> None:
            if sum(self.rates()) > 1 + 1e-9:
                raise self.refusal(
                    "a crop gets one deformation at most, so local_rate, nonlinear_rate, inpaint_rate and "
                    f"outpaint_rate together must be at most 1, got {sum(self.rates()):g}"
                )
            if self.sigmoid and self.scale_unit == "deform":
                raise self.refusal(
                    "a sigmoid gives values from 0 to 1, but with scale_unit 'deform' the crop to restore "
                    "has other values; set sigmoid: false, or scale_unit: crop"
                )
            if self.words < 2 or self.bezier_points < 2:
                raise self.refusal("words and bezier_points must be 2 or more")
            places(self.words, self.apart, self.places_seed)  # refuses what does not fit

        def rates(self) -> tuple[float, ...]:
            """Return how often each of the deformations comes of which a crop gets one, in their order."""
            return self.local_rate, self.nonlinear_rate, self.inpaint_rate, self.outpaint_rate

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse crops that leave too few places in volumes of a known size."""
            if recipe.resize is None or not all(recipe.resize):
                return
            starts = [self.start(word, recipe.resize, crop) for word in range(self.words)]
            if (count := len({tuple(s.tolist()) for s in starts})) < self.words:
                raise self.refusal(
                    f"crops of {tuple(crop)} in volumes of {tuple(recipe.resize)} leave only {count} places "
                    f"for {self.words} words; use a smaller crop, or fewer words"
                )

        def check_data(self, data: Sequence[Entry]) -> None:
            """Refuse a data set without one of the ``tasks``, where words depend on them."""
            for part in data:
                if self.tasks > 1 and not (part.task and 1 <= part.task <= self.tasks):
                    found = "no task class" if part.task is None else f"task class {part.task}"
                    raise self.refusal(
                        f"data set {part.dataset!r} of the mixture has {found}; write 'task: N', with N from "
                        f"1 to {self.tasks}, next to the data set, or set tasks: 1"
                    )

        def start(self, word: int, shape: Sequence[int], crop: Sequence[int]) -> np.ndarray:
            """Return a word's corner (3,): the same share of what every volume leaves to a crop's start."""
            room = np.subtract(shape, crop)
            edge = np.clip(self.border, 0, np.maximum(room // 2, 0))
            share = places(self.words, self.apart, self.places_seed)[word]
            inside = edge + np.rint(share * (room - 2 * edge)).astype(int)
            return np.where(room > 0, inside, room // 2)

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read ``crop`` (C, *crop) at the place of a random ``word``; a flat one is drawn again."""
            for _ in range(self.tries):
                word = int(rng.integers(self.words))
                start, size = self.start(word, volume.shape, crop), np.array(crop)
                if rng.random() < self.rescaled:
                    start, size = self.varied(start, size, volume.shape, rng)
                found = read_at(volume, start, size, crop)
                if found.std() >= self.least_std:
                    break
            return {"crop": found, "word": np.array(word, np.int64)}

        def varied(
            self,
            start: np.ndarray,
            crop: np.ndarray,
            shape: Sequence[int],
            rng: np.random.Generator,
        ) -> tuple[np.ndarray, np.ndarray]:
            """Return another corner and size (3,), changed along x and y; within a volume that has room."""
            factor = np.array([*[rng.uniform(*self.rescale)] * 2, 1.0])
            size = np.clip(np.rint(crop * factor).astype(int), 1, np.maximum(shape, crop))
            move = self.shift * crop * [*rng.uniform(-1, 1, 2), 0.0]
            room = np.subtract(shape, size)
            moved = np.clip(start + np.rint(move).astype(int), 0, np.maximum(room, 0))
            return np.where(room >= 0, moved, room // 2), size

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Warp every crop and deform it in one way or none: ``x``; ``y`` is what to restore.

            Returns:
                ``x`` and ``y`` (B, C, X, Y, Z); ``word`` (B,), those of the second task after the first's.
            """
            raw, word = batch["crop"], batch["word"]
            if self.tasks > 1:
                word = word + (batch["task"] - 1) * self.words
            low, span = (0.0, 1.0) if self.scale_unit == "none" else deform.reach(raw)
            unit = (raw - low) / span
            warped = self.warped(unit, generator)
            x, y = self.deformed(warped, generator), unit if self.undo_elastic else warped
            if self.scale_unit == "deform":
                x, y = x * span + low, y * span + low
            return {"x": x, "y": y, "word": word}

        def warped(self, x: Tensor, generator: torch.Generator) -> Tensor:
            """Return crops (B, C, X, Y, Z) after the elastic transform, of those that have it."""
            chosen = chance(len(x), self.elastic_rate, generator)
            noise = 2 * rand((len(x), 2, *x.shape[2:]), generator) - 1
            rows = chosen.nonzero()[:, 0]
            if not len(rows):
                return x
            moved = displaced(x[rows], noise[rows], self.elastic, self.elastic_sigma)
            return x.index_copy(0, rows, moved.to(x.dtype))

        def deformed(self, x: Tensor, generator: torch.Generator) -> Tensor:
            """Return crops (B, C, X, Y, Z), each shuffled, mapped by a curve, painted, or as it was."""
            u, edges = rand(len(x), generator), accumulate(self.rates(), initial=0.0)
            shuffled, mapped, inner, outer = (
                (u >= low) & (u < high) for low, high in pairwise(edges)
            )
            x = deform.local_shuffle(x, shuffled, self.windows, generator)
            x = deform.bezier(x, mapped, self.bezier_points, generator, self.rises)
            return deform.paint(
                x, inner, outer, deform.Boxes(self.boxes, 1.0, self.margin), generator
            )

    params: Params
    joint: Tensor

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        self.head = word_head(
            network.encoder.widths[-1], params.hidden, params.words * params.tasks
        )
        self.register_buffer("joint", torch.tensor(int(params.warm == 0)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the restoration error ``image`` and the cross-entropy ``word``.

        ``named`` is the share of crops whose word is correct, ``chance`` that of one answer for all of a task.
        ``copied`` is the error of the deformed crop itself, ``flat`` that of each crop's own mean.
        """
        p, x, y = self.params, batch["x"], batch["y"]
        maps = self.encoder(x)
        word, right = classified(self.head(maps[-1]), batch["word"])
        made = self.decoder(x, maps)
        made = full_precision(torch.sigmoid)(made) if p.sigmoid else made
        image = mean_squared(made, y)
        if p.warm and not self.joint:
            image, total = image.detach(), word  # unweighted, as in the code's first run
        else:
            image = image if p.image_weight else image.detach()
            total = p.image_weight * image + p.word_weight * word
        return {
            "total": total,
            "image": image,
            "word": word,
            "named": right,
            "chance": right.new_full((), 1 / p.words),
            "copied": mean_squared(x, y),
            "flat": mean_squared(y.mean(dim=(2, 3, 4), keepdim=True), y),
        }

    def after_step(self, progress: float) -> None:
        """Begin to restore when the share of the steps that learn words alone is over."""
        self.joint.fill_(progress >= self.params.warm)

    def transfer(self) -> dict[str, Tensor]:
        """Return encoder and decoder, or the encoder where that is asked for or nothing was restored."""
        return super().transfer() if self.params.image_weight else self.handed("encoder")


@lru_cache
def places(words: int, apart: float, seed: int) -> np.ndarray:
    """Return places (words, 3) in the unit cube, no two nearer than ``apart``, always the same ones.

    Raises:
        BenchError: so many do not fit.
    """
    rng, found = np.random.default_rng(seed), np.empty((0, 3))
    for _ in range(words):
        drawn = rng.random((TRIES, 3))
        far = (np.linalg.norm(drawn[:, None] - found, axis=2) >= apart).all(axis=1)
        if not far.any():
            raise BenchError(
                f"method 'transvw': found no {words} places that are {apart:g} of a volume apart; use fewer "
                "words, or a lower value of apart"
            )
        found = np.concatenate([found, drawn[None, far.argmax()]])
    return found


def word_head(width: int, hidden: int, classes: int) -> nn.Sequential:
    """Return the head from a map (B, width, x, y, z) to logits (B, classes)."""
    return nn.Sequential(
        nn.Conv3d(width, hidden, 3, padding=1),
        nn.BatchNorm3d(hidden),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(hidden, classes),
    )


@full_precision
def displaced(x: Tensor, noise: Tensor, height: float, sigma: float) -> Tensor:
    """Read crops at places that smooth random fields move along x and y, linearly; borders are mirrored.

    Args:
        x: (B, C, X, Y, Z).
        noise: (B, 2, X, Y, Z) from -1 to 1, 0 around it; smoothed, the displacement along x and along y.
        height: factor of the smoothed noise, in voxels.
        sigma: of the Gaussian, in voxels, cut at 4 sigma.
    """
    weights = [blurring(n, sigma, noise) for n in x.shape[2:]]
    along_x, along_y = (height * torch.einsum("bdxyz,ix,jy,kz->dbijk", noise, *weights)).unbind(0)
    still = torch.eye(3, 4, device=x.device, dtype=x.dtype).expand(len(x), 3, 4)
    grid = functional.affine_grid(still, list(x.shape), align_corners=False)  # z before y before x
    move = [torch.zeros_like(along_x), 2 * along_y / x.shape[3], 2 * along_x / x.shape[2]]
    grid = grid + torch.stack(move, dim=-1)
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def blurring(length: int, sigma: float, like: Tensor) -> Tensor:
    """Return the matrix (length, length) that blurs a line, zeros around it: faster than a convolution."""
    radius, at = int(4 * sigma + 0.5), torch.arange(length, device=like.device)
    apart = at[:, None] - at
    line = bell(constant([sigma], like.device, like.dtype), radius)[0]
    return line[(apart + radius).clamp(0, 2 * radius)] * (apart.abs() <= radius)
