"""GL-MAE: restore masked global and local views, and tell from them what a slow copy says of a global one."""

from dataclasses import dataclass
from math import log, prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.reader import Volume
from bench.method import Arrays, Batch, EncoderMaps, Figure, Method, MethodParams, Triple
from bench.nets import Network, TokenEncoder
from bench.pretext.boxes import Ratio, read_box, shares
from bench.pretext.distil import Centre, entropy, handed_on, information, sharpened
from bench.pretext.heads import DecoderSize, MaskedDecoder, decoder_flops, projection, xavier
from bench.pretext.losses import reconstruction
from bench.pretext.mask import random_split, take
from bench.pretext.momentum import SlowCopy, cosine_tau
from bench.pretext.positions import rescaled, sines
from bench.ranges import Amount, Count, Factors, Positive, Share
from bench.source import Source

WIDER = 160 / 96  # Pre-training setting: sides of global over local views


class GLMAE(Method):
    """Zhuang, Luo & Chen. No pretraining code was released: what the text leaves open is marked assumed."""

    title = "GL-MAE"
    paper = "glmae"
    source = Source(
        "Zhuang, Luo & Chen, Advancing Volumetric Medical Image Segmentation via Global-Local Masked "
        "Autoencoder, IEEE TMI 2025",
        "https://arxiv.org/abs/2306.08913",
        "https://github.com/JiaxinZhuang/GL-MAE",
    )
    needs = "tokens"
    version = 2  # 2: the decoder does not see the class token
    figure = Figure("restored", "error on hidden voxels", "flat", rises=False)
    fidelity = "paper only: the released code is the network for fine-tuning, see docs/methods"

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the paper's; 'code' marks the released network's."""

        p: Count = 2  # Pre-training setting, global views
        q: Count = 8  # the same, local views
        # the same: 160 where local views are 96; by default that ratio
        global_crop: Triple | None = None
        global_ratio: Factors = (0.5, 1.0)  # the same, share of each axis (see ratio_of)
        local_ratio: Factors = (0.25, 0.5)  # the same
        ratio_of: Ratio = "isotropic"  # assumed: the paper does not say of what it is the ratio
        mask_ratio: Share = 0.6  # its supplement's best; the count rounds down, as in mae3d
        local_weight: Amount = 1.0  # Eq. 11, of L_R^l; 0 in ablations (Table 4)
        global_weight: Amount = 1.0  # Eq. 11, beta_1 of L_R^g
        gg_weight: Amount = 1.0  # Eq. 11, beta_2 of L_C^gg
        gl_weight: Amount = 1.0  # Eq. 11, beta_3 of L_C^gl
        recon_on: Literal["masked", "all"] = "masked"  # text: the invisible patches; Eq. 3 sums all
        # Eq. 3's further division by the patches' number; it all but removes L_R
        per_patch: bool = False
        out: Count = 512  # Section "Global-guided", K
        # assumed, as DINO; the paper: "multiple fully-connected layers" and GELU
        hidden: Count = 2048
        # assumed, as DINO; Eq. 7 has one t for both sides and no number
        temperature: Positive = 0.1
        # assumed, as DINO; .1 is Eq. 7 to the letter, and collapses
        teacher_temperature: Positive = 0.04
        # assumed, as DINO: momentum; null is the paper's formula, and collapses
        centre: Share | None = 0.9
        tau: Share = 0.996  # assumed, as DINO: start of the cosine to 1; Eq. 5's mu is 1 - tau
        decoder_dim: Count = 512  # code
        decoder_depth: Count = 8  # code
        decoder_heads: Count = 16  # code
        decode_class: bool = (
            False  # Eq. 2: the decoder reads patches; true: the class token, too (code)
        )
        # UNETR's; code: fixed, by its comment sines
        positions: Literal["learned", "sines"] = "learned"
        init: bool = True  # code: heads' and decoder's Linear Xavier-uniform, tokens normal .02

        def __post_init__(self) -> None:
            if not (self.local_weight or self.global_weight):
                raise self.refusal("local_weight or global_weight must be above 0")

        def voxels_per_sample(self, crop: Triple) -> float:
            """Return those of the visible patches, a third of those that the slow copy sees, and class tokens."""
            local, wide = (prod(view) // 16**3 for view in (crop, self.wide(crop)))
            small, large = (n - int(self.mask_ratio * n) for n in (local, wide))
            # a class token costs less than a patch: nothing embeds it
            named = (self.q + self.p * 4 / 3) / 2
            return 16**3 * (self.q * small + self.p * (large + wide / 3) + named)

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the decoder's operations on all views, for patches of 16^3 voxels."""
            size = DecoderSize(self.decoder_dim, self.decoder_depth, self.decoder_heads)
            asked = self.mask_ratio if self.recon_on == "masked" else 1.0
            views = ((self.q, crop), (self.p, self.wide(crop)))
            return sum(
                count * decoder_flops(size, prod(view) / 16**3, asked, maps.width, 16**3)
                for count, view in views
            )

        def wide(self, crop: Triple) -> Triple:
            """Return the size of global views where local ones are ``crop``."""
            if self.global_crop:
                return self.global_crop
            x, y, z = (max(16, round(n * WIDER / 16) * 16) for n in crop)
            return x, y, z

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read ``global`` (p, C, ...) and ``local`` (q, C, ...) boxes, resized to their views."""

            def boxes(count: int, bounds: Factors, out: Triple) -> np.ndarray:
                drawn = (shares(bounds, self.ratio_of, rng) for _ in range(count))
                return np.stack([read_box(volume, share, out, rng) for share in drawn])

            return {
                "global": boxes(self.p, self.global_ratio, self.wide(crop)),
                "local": boxes(self.q, self.local_ratio, crop),
            }

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Draw which patches of each view are hidden; no intensity is changed."""
            made = {"global": batch["global"], "local": batch["local"]}
            for name in ("global", "local"):
                rows = batch[name].shape[0] * batch[name].shape[1]
                patches = prod(n // 16 for n in batch[name].shape[3:])
                hidden, visible = random_split(rows, patches, self.mask_ratio, generator)
                made |= {f"{name}_hidden": hidden, f"{name}_visible": visible}
            return made

    params: Params
    encoder: TokenEncoder
    places: Tensor

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, encoder = params, self.encoder
        self.token = nn.Embedding(1, encoder.dim)
        self.projector = projection([encoder.dim, p.hidden, p.hidden, p.out])
        voxels = prod(encoder.patch) * network.in_channels
        size = DecoderSize(p.decoder_dim, p.decoder_depth, p.decoder_heads, bias=True)
        self.decoder = MaskedDecoder(encoder.dim, size, 0, voxels)
        if p.init:
            nn.init.normal_(self.token.weight, std=0.02)
            nn.init.normal_(self.decoder.mask_token, std=0.02)
            for head in (self.projector, self.decoder):
                head.apply(xavier)
        if p.positions == "sines":
            position = encoder.get_parameter(encoder.position)
            position.data.copy_(sines(encoder.grid, encoder.dim)[None])
            position.requires_grad_(False)
        self.register_buffer("places", sines(encoder.grid, p.decoder_dim), persistent=False)
        self.slow = SlowCopy(encoder=encoder, token=self.token, projector=self.projector)
        self.centre = Centre(p.out, p.centre or 0.0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return Eq. 11 and its terms, as far as their weights are above 0.

        ``restored`` is the error on hidden voxels and ``flat`` that of each patch's own mean, over both kinds
        of views. ``information`` is what the slow copy's distributions tell of their view, in nats (below .02
        they tell nothing), ``entropy`` how flat they are, as a share of the highest.
        """
        p, terms, flats = self.params, {}, []
        target = self._taught(batch["global"])
        total = torch.zeros((), device=batch["local"].device)
        for name, pair in (("local", "gl"), ("global", "gg")):
            restores, agrees = getattr(p, f"{name}_weight"), getattr(p, f"{pair}_weight")
            if not (restores or agrees):
                continue
            encoded = self._visible(batch, name)
            if restores:
                seen = encoded if p.decode_class else encoded[:, 1:]
                terms[name], flat = self._restored(batch, name, seen)
                total = total + restores * terms[name]
                flats.append(flat)
            if agrees:
                told = self.projector(encoded[:, 0]).unflatten(0, batch[name].shape[:2])
                terms[pair] = handed_on(target, told, p.temperature)
                total = total + agrees * terms[pair]
        restored = [terms[name] for name in ("local", "global") if name in terms]
        terms |= {"restored": torch.stack(restored).mean(), "flat": torch.stack(flats).mean()}
        terms |= {
            "information": information(target),
            "entropy": entropy(target).mean() / log(p.out),
        }
        return {"total": total, **terms}

    def _visible(self, batch: Batch, name: str) -> Tensor:
        """Return the class token and the visible patches of masked views behind the encoder."""
        x, visible = batch[name].flatten(0, 1), batch[f"{name}_visible"]
        return self._encoded(self, self.encoder.tokens(x, rescale=True, only=visible))

    def _restored(self, batch: Batch, name: str, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Return the error of restoring masked views (Eq. 3, 4), and that of each patch's mean."""
        p, x = self.params, batch[name].flatten(0, 1)
        hidden, visible = batch[f"{name}_hidden"], batch[f"{name}_visible"]
        grid = [n // side for n, side in zip(x.shape[2:], self.encoder.patch, strict=True)]
        asked = hidden if p.recon_on == "masked" else torch.cat([hidden, visible], dim=1)
        places = rescaled(self.places, self.encoder.grid, grid)
        made = self.decoder(encoded, visible, hidden, places, asked.shape[1])
        voxels = take(self.encoder.patchify(x), asked)
        mean = voxels.mean(dim=-1, keepdim=True).expand_as(voxels)
        told, flat = (reconstruction(guess, voxels, "mse") for guess in (made, mean))
        return (told / prod(grid), flat / prod(grid)) if p.per_patch else (told, flat)

    @torch.no_grad()
    def _taught(self, views: Tensor) -> Tensor:
        """Return the slow copy's distributions of the complete global views, (B, p, K)."""
        p, slow = self.params, self.slow
        tokens = slow.encoder.tokens(views.flatten(0, 1), rescale=True)
        logits = slow.projector(self._encoded(slow, tokens)[:, 0]).unflatten(0, views.shape[:2])
        self.centre.see(logits)
        return sharpened(
            logits, p.teacher_temperature, self.centre.mean if p.centre is not None else 0.0
        )

    @staticmethod
    def _encoded(side: Any, tokens: Tensor) -> Tensor:
        """Return the class token and tokens (B, 1 + n, dim) behind the encoder."""
        first = side.token.weight.expand(len(tokens), 1, -1).to(tokens.dtype)
        return side.encoder.run(torch.cat([first, tokens], dim=1))

    def after_step(self, progress: float) -> None:
        """Move the slow copy and the centre of what it says."""
        self.slow.follow(self, cosine_tau(self.params.tau, progress))
        self.centre.move()
