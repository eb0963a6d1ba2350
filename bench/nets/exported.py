"""Weights for use outside: our own file, torch's, one of MONAI's class, or one that nnU-Net can fine-tune from.

The last format holds what the master branch of nnU-Net reads (``like_nnssl.py``,
``pretrainedTrainer.py``) and nnssl writes (``adaptation_plan.py``, ``plan.py``). nnU-Net 2.8.1 as released
reads its ``network_weights`` with ``nnUNetv2_train -pretrained_weights``, into the network that
``architecture`` states. ``tests/nets/test_real_nnunet.py`` runs that loader; ``make nnunet`` installs it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError, unknown
from bench.nets import builder, classifier, network
from bench.nets.base import Wanted
from bench.nets.catalog import ARCHITECTURES, network_facts, preset
from bench.nets.foreign_weights import OURS
from bench.nets.manifest import Manifest, save
from bench.nets.sizes import ResEncSize
from bench.store import write_atomic

CONFIGURATION = "3d_fullres"  # of nnU-Net's plans, in which our network goes
FOR_NNUNET = ("nnunet", "nnssl")  # two names of one format: both read the file
# format: suffixes of its files; nnssl and nnU-Net write .pth
FORMATS = {
    "safetensors": (".safetensors",),
    **dict.fromkeys(FOR_NNUNET, (".pth", ".pt")),
    **dict.fromkeys(("torch", "monai"), (".pt", ".pth")),
}
DESCRIBED = (*FOR_NNUNET, "monai")  # a .json file beside them has the network
MONAI = "monai.networks.nets"
UNUSED = ".norm_cross_attn."  # MONAI 1.6 builds this norm, and nothing calls it


def write(
    path: Path | str, tensors: Mapping[str, Tensor], manifest: Manifest, format: str = "safetensors"
) -> str:
    """Write weights, whole or not at all; return how torch or MONAI loads them, else nothing.

    Args:
        path: the file; its folder exists.
        tensors: under our keys.
        manifest: of these tensors.
        format: a key of ``FORMATS``. ``torch``: a plain ``state_dict`` under our names. ``monai``: a whole one of
            MONAI's class, and beside it a ``.json`` with the call that builds it. Of ``FOR_NNUNET``: nnssl's
            checkpoint for nnU-Net, kernels turned to the (z, y, x) in which nnU-Net reads images, the library's
            names, and the plan that ``nnUNetv2_preprocess_like_nnssl`` adapts to; nnU-Net takes the encoder.

    Raises:
        BenchError: an unknown format, a network that the format does not know, a part of the encoder is
            missing, or the file cannot be written.
    """
    if format not in FORMATS:
        raise BenchError(unknown("format", format, FORMATS))
    path = Path(path)
    try:
        if format == "monai":
            return _write_monai(path, tensors, manifest)
        if format == "torch":
            build, size = _network_of(tensors, manifest)
            write_atomic(path, _saved(tensors))
            return (
                f"net = bench.nets.{build.__name__}{size}\n{_load(path, manifest.out_channels > 0)}"
            )
        if format in FOR_NNUNET:
            write_atomic(path, _nnssl(tensors, manifest, format))
        else:
            save(path, tensors, manifest)
    except OSError as error:
        raise BenchError(
            f"{path}: cannot be written ({error.strerror}); name another file"
        ) from None
    return ""


def _saved(content: Mapping[str, Any]) -> bytes:
    """Return a file of torch's; a view's storage is not dragged along."""
    buffer = io.BytesIO()
    own = {k: v.detach().cpu().clone() if isinstance(v, Tensor) else v for k, v in content.items()}
    torch.save(own, buffer)
    return buffer.getvalue()


def _load(path: Path, strict: bool = True) -> str:
    """Return the line of Python that loads a file of torch's."""
    loose = "" if strict else ", strict=False"
    return f"net.load_state_dict(torch.load({str(path)!r}){loose})"


def _network_of(
    tensors: Mapping[str, Tensor], manifest: Manifest
) -> tuple[Callable[..., nn.Module], tuple[Any, ...]]:
    """Return what builds the network of weights, and what it is given; two classes where none were trained."""
    size = manifest.network, manifest.preset, manifest.in_channels, manifest.out_channels or 2
    if "segmentation" in network_facts(manifest.network).tasks and not any(
        name.startswith("head.") for name in tensors
    ):
        return network, (*size, manifest.crop)
    hidden = (len(tensors["head.0.weight"]),) if "head.0.weight" in tensors else ()
    return classifier, (*size, manifest.crop, *hidden)


def _write_monai(path: Path, tensors: Mapping[str, Tensor], manifest: Manifest) -> str:
    """Write a whole ``state_dict`` of MONAI's class, parts that were not trained with the initial values of seed 0.

    Raises:
        BenchError: no class of MONAI computes what the network does.
    """
    facts, (build, size) = network_facts(manifest.network), _network_of(tensors, manifest)
    module = builder(facts)
    refusal = (
        f"network {manifest.network}/{manifest.preset} is no class of MONAI; take --format torch"
    )
    if not hasattr(module, "MONAI"):
        raise BenchError(refusal)
    arguments = module.arguments(
        Wanted(preset(*size[:2]).size, facts.dims, manifest.crop, size[2], size[3])
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs, ours = module.MONAI(**arguments).state_dict(), build(*size).state_dict()
    names = {name: _monais(name, theirs) for name in ours}
    if {*names.values()} != {name for name in theirs if UNUSED not in name}:
        raise BenchError(refusal)
    whole = theirs | {names[name]: value for name, value in (ours | dict(tensors)).items()}
    untrained = sorted({names[name].split(".")[0] for name in ours.keys() - tensors.keys()})
    kind, axes = f"{MONAI}.{module.MONAI.__name__}", getattr(preset(*size[:2]).size, "axes", "RAS")
    content = {
        "network": {"_target_": kind, **arguments},
        "axes": axes,
        "untrained": untrained,
        "bench": manifest.to_dict(),
    }
    beside = path.with_suffix(".json")
    write_atomic(path, _saved(whole))
    write_atomic(beside, json.dumps(content, indent=1, default=lambda c: f"${_python(c)}") + "\n")
    call = ", ".join(f"{name}={_python(value)}" for name, value in arguments.items())
    lines = [f"{beside}: this call, as monai.bundle reads it", f"net = {kind}({call})", _load(path)]
    if untrained:
        parts = ", ".join(untrained)
        lines.append(f"not trained, with initial values ('untrained' in the .json file): {parts}")
    if axes != "RAS":
        lines.append("axes of the images that it reads: to top, back and left")
    return "\n".join(lines)


def _monais(name: str, theirs: Container[str]) -> str:
    """Return MONAI's name of a tensor of ours; nothing where it has none."""
    others = (
        name.partition(".")[2],
        re.sub(r"^decoder\.heads\.(\d+)", r"up_layers.\1.head", name),
        re.sub(r"^head\.", "class_layers.out.", name),
    )
    return next((other for other in (name, *others) if other in theirs), "")


def _python(value: Any) -> str:
    """Return an argument as Python reads it."""
    if isinstance(value, type):
        return f"__import__({value.__module__!r}, fromlist=['']).{value.__name__}"
    return repr(value)


@dataclass(frozen=True)
class Plans:
    """nnU-Net's plans of a data set, in the folder where nnU-Net reads them."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Plans:
        """Return the plans of a file.

        Raises:
            BenchError: it is no such file.
        """
        if not path.exists():
            raise BenchError(f"--plans {path}: no such file; correct the path")
        try:
            content = json.loads(path.read_text("utf-8"))
            content["configurations"][CONFIGURATION].keys()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise BenchError(
                f"--plans {path}: is no plans file of nnU-Net with a configuration {CONFIGURATION}; name "
                "nnUNet_preprocessed/DATASET/nnUNetPlans.json or the like"
            ) from None
        return cls(path, content)

    @property
    def copy(self) -> Path:
        """The file that has the network of weights."""
        return self.path.with_name("benchPlans.json")

    @property
    def described(self) -> str:
        """What the copy has, for a person."""
        batch = self.content["configurations"][CONFIGURATION].get("batch_size")
        return (
            f"{self.copy}: {self.path.name} with this network. Its batch_size is still {batch}; "
            "lower it if the memory does not suffice"
        )

    @property
    def train(self) -> str:
        """The command that trains by the copy."""
        dataset = self.path.absolute().parent.name
        return f"nnUNetv2_train {dataset} {CONFIGURATION} FOLD -p {self.copy.stem}"

    def write(self, manifest: Manifest) -> None:
        """Write a copy with the network of weights."""
        now = {**self.content["configurations"][CONFIGURATION], **configuration(manifest)}
        every = {**self.content["configurations"], CONFIGURATION: now}
        content = {**self.content, "plans_name": self.copy.stem, "configurations": every}
        try:
            write_atomic(self.copy, json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise BenchError(f"{self.copy}: cannot be written ({error.strerror})") from None


def usage(
    tensors: Mapping[str, Tensor], file: Path, plans: Path, theirs: Plans | None = None
) -> str:
    """Return how nnU-Net takes a file of ours."""
    network = theirs.described if theirs else f"{plans}: the network as nnU-Net's plans state it"
    if not any(name.startswith("decoder.") for name in tensors):
        return (
            f"{network}.\nAn encoder alone: nnUNetv2_preprocess_like_nnssl and nnUNetv2_train_pretrained take "
            "it. Only nnU-Net's master branch has them. nnU-Net 2.8.1 (-pretrained_weights) needs the decoder, "
            "too: a fine-tuning has it (a row's by --only kind=finetune)."
        )
    loads = f"-pretrained_weights {file} (nnU-Net 2.8.1)"
    if theirs:
        return f"{network}.\nThen: {theirs.train} {loads}"
    return (
        f"{network}. Copy its keys into the configuration of the plans file (configurations, {CONFIGURATION}), "
        f"or name that file by --plans.\nThen: nnUNetv2_train DATASET {CONFIGURATION} FOLD {loads}"
    )


def configuration(manifest: Manifest) -> dict[str, object]:
    """Return what a configuration of nnU-Net's plans says of the network: itself and its crop, (z, y, x)."""
    size = [int(side) for side in reversed(manifest.crop)]
    return {"patch_size": size, "architecture": architecture(manifest)}


def architecture(manifest: Manifest) -> dict[str, object]:
    """Return the network as a configuration of nnU-Net's plans states it."""
    size = preset(manifest.network, manifest.preset).size
    assert isinstance(size, ResEncSize)
    stages = len(size.features)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(size.features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_blocks_per_stage": list(size.blocks),
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _nnssl(tensors: Mapping[str, Tensor], manifest: Manifest, format: str) -> bytes:
    chosen = (manifest.network, manifest.preset)
    if chosen not in ARCHITECTURES:
        raise BenchError(_refusal(*chosen))
    with torch.device("meta"):
        encoder = network(*chosen, max(manifest.in_channels, 1), 2).encoder.state_dict()
    lacking = [f"encoder.{name}" for name in encoder if f"encoder.{name}" not in tensors]
    if lacking:
        raise BenchError(
            f"format {format!r} needs the whole encoder; {lacking[0]!r} is not among these weights"
        )
    cite = network_facts(manifest.network).source.cite
    return _saved(
        {
            "network_weights": _doubled({name: _turned(value) for name, value in tensors.items()}),
            "nnssl_adaptation_plan": _adaptation(manifest),
            "citations": [{"type": "Architecture", "name": "ResEncL", "apa_citations": [cite]}],
            "trainer_name": f"bench {manifest.method}".strip(),
            OURS: manifest.to_dict(),
        }
    )


def _refusal(name: str, preset: str) -> str:
    """Return why nnU-Net cannot take a network, and what to do."""
    known = ", ".join("/".join(names) for names in ARCHITECTURES)
    presets = [p for n, p in ARCHITECTURES if n == name]
    way = (
        f"use its preset {' or '.join(presets)} (--set networks.NAME.preset={presets[0]})"
        if presets
        else f"name it in the protocol ('bench init DIR --network {next(iter(ARCHITECTURES))[0]}' does)"
    )
    return f"nnU-Net cannot read network {name}/{preset}: it reads only {known}; {way} and pretrain again"


def _turned(value: Tensor) -> Tensor:
    """Return a kernel (O, I, x, y, z) as (O, I, z, y, x), anything else as it is."""
    value = value.detach().cpu()
    turned = value.permute(0, 1, 4, 3, 2) if value.ndim == 5 else value
    # of a view torch would save the whole
    return turned.clone(memory_format=torch.contiguous_format)


def _doubled(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under every key that the library has for them: nnU-Net loads strictly.

    It registers convolution and norm of a block a second time, in ``all_modules``, and the encoder a
    second time, in the decoder.
    """
    doubled = dict(tensors)
    for name, value in tensors.items():
        if match := re.fullmatch(r"(.*)\.(conv|norm)\.(weight|bias)", name):
            doubled[f"{match[1]}.all_modules.{['conv', 'norm'].index(match[2])}.{match[3]}"] = value
    if any(name.startswith("decoder.") for name in tensors):
        doubled |= {
            f"decoder.{name}": value
            for name, value in doubled.items()
            if name.startswith("encoder.")
        }
    return doubled


def _adaptation(manifest: Manifest) -> dict[str, Any]:
    """Return the plan with the fields of nnssl's ``AdaptationPlan``; sizes in (z, y, x)."""
    size = [int(side) for side in reversed(manifest.crop)]
    given = manifest.recipe.get("spacing")
    spacing = [float(step) for step in reversed(given)] if given else None
    name, stated = ARCHITECTURES[manifest.network, manifest.preset], architecture(manifest)
    style = "noresample" if spacing is None else "onemmiso" if spacing == [1, 1, 1] else "median"
    return {
        "architecture_plans": {
            "arch_class_name": name or stated["network_class_name"],
            "arch_kwargs": None if name else stated["arch_kwargs"],  # a name says all
            "arch_kwargs_requiring_import": None if name else stated["_kw_requires_import"],
        },
        "pretrain_plan": {
            "dataset_name": "unknown",
            "plans_name": "bench",
            "original_median_spacing_after_transp": spacing or [1.0, 1.0, 1.0],
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": {style: _configuration(style, spacing, size, manifest.in_channels)},
            "experiment_planner_used": "ExperimentPlanner",
        },
        "pretrain_num_input_channels": manifest.in_channels,
        "recommended_downstream_patchsize": size,
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }


def _configuration(
    style: str, spacing: list[float] | None, size: list[int], channels: int
) -> dict[str, Any]:
    """Return the fields of nnssl's ``ConfigurationPlan``; of them nnU-Net reads spacing and patch size.

    Whatever intensities the weights were trained on, nnU-Net standardises each channel when it fine-tunes
    from such a file; what was done here stands in the manifest beside the plan.
    """
    kwargs = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "data_identifier": f"bench_{style}",
        "preprocessor_name": "DefaultPreprocessor",
        "spacing_style": style,
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": kwargs,
        "resampling_fn_mask": "resample_data_or_seg_to_shape",
        "resampling_fn_mask_kwargs": {**kwargs, "is_seg": True, "order": 1},
        "spacing": spacing,
        "patch_size": size,
    }
