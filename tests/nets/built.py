"""Networks from a seed: ours, and those of the library that nnU-Net and nnssl build theirs with."""

import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from torch import nn

from bench.nets import network


def built(name, preset="tiny", channels=(1, 2), crop=None, seed=0, device="cpu"):
    torch.manual_seed(seed)
    with torch.device(device):
        return network(name, preset, *channels, crop=crop)


def encoder_of(net):
    return {f"encoder.{k}": v.clone() for k, v in net.encoder.state_dict().items()}


def count(module):
    return sum(p.numel() for p in module.parameters())


def library(features, blocks, channels=(1, 2), norm=nn.InstanceNorm3d, supervised=False, seed=4):
    """Return nnU-Net's network as nnssl's ``get_res_enc_l`` builds it, of any size and norm."""
    torch.manual_seed(seed)
    deeper = len(features) - 1
    return ResidualEncoderUNet(
        channels[0],
        1 + deeper,
        list(features),
        nn.Conv3d,
        [[3] * 3] * (1 + deeper),
        [[1] * 3, *[[2] * 3] * deeper],
        list(blocks),
        channels[1],
        [1] * deeper,
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=supervised,
    )
