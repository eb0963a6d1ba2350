"""Each network learns two volumes by heart, with each head, and still knows them in evaluation mode.

The losses are those of fine-tuning; what a head predicts is read as ``bench.jobs.predict`` reads it.
"""

import pytest
import torch

from bench.data.regions import one_hot
from bench.nets import classifier, network, network_names
from bench.nets.catalog import CATALOG
from bench.train.label_losses import cross_entropy, of_maps, of_regions, over_scales
from bench.train.loop import channels_last

STEPS, LOOK, ENOUGH = 500, 10, 0.9
RATE = {"softmax": 1e-2, "regions": 1e-2, "deep": 1e-2, "classes": 1e-3}  # of Adam
REGIONS = ((1, 2), (2,))  # the whole blob, and its core
# Batch norm wants more than one voxel per sample at the bottleneck: its variance is that of so few.
CROPS = {"pgl_resnet50": (32, 32, 16), "densenet121": (64, 64, 1)}
SLOW = {("swin_unetr", h) for h in RATE} | {("taleb_unet3d", h) for h in ("softmax", "regions")}
SLOW |= {(name, "softmax") for name in ("segresnet", "segresnet_ds", "suprem_swin_unetr")}
QUICK = {"unet2d", "unet3d", "unetr", "segresnet"}  # of regions: the others are of the same heads
# As published, dropout of a half stands before batch norm in every block, so its running statistics are
# those of values that evaluation never has. Label maps survive it, the classes of four volumes do not: the
# true one has 0.99 while training and 0.01 in evaluation. They are read by the batch's statistics.
SHIFTED = {"taleb_unet2d", "taleb_unet3d"}
# As released, its batch norm predicts by each window's own statistics, and trains by the batch's.
SHIFTED |= {"suprem_unet"}
# Their head is a network that another one writes: a rate of 1e-2 breaks it.
WRITTEN = {"suprem_unet", "suprem_swin_unetr"}
DECODED = [name for name in network_names() if "segmentation" in CATALOG[name].tasks]


@pytest.fixture(autouse=True)
def one_thread():
    """Let the same steps lead to the same weights on any machine of a kind."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def each(names, *heads):
    """Return pairs of network and head, the slow ones marked."""
    pairs = [(name, head) for name in names for head in heads]
    slow = SLOW | {p for p in pairs if p[1] == "regions" and p[0] not in QUICK}
    return [pytest.param(*p, marks=pytest.mark.slow if p in slow else ()) for p in pairs]


def crop_of(name):
    """Return a crop of at least 16 voxels along each axis that the network reads."""
    item = CATALOG[name]
    sides = [max(side, 16) for side in item.multiple]
    return CROPS.get(name, (*sides[: item.dims], 1)[:3])


def phantoms(crop):
    """Return images (2, 1, X, Y, Z) and labels (2, X, Y, Z): a ball of label 1 around a core of label 2."""
    axes = [torch.linspace(0, 1, n) if n > 1 else torch.tensor([0.5]) for n in crop]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    label = torch.zeros(2, *crop, dtype=torch.uint8)
    for number, centre in enumerate([(0.35, 0.4, 0.5), (0.65, 0.55, 0.5)]):
        far = (places - torch.tensor(centre)).norm(dim=-1)
        label[number] = (far < 0.32).byte() + (far < 0.19).byte()
    noise = torch.randn(2, 1, *crop, generator=torch.Generator().manual_seed(0))
    return label[:, None] + 0.2 * noise, label


def worst_dice(logits, label, head):
    """Return the lowest Dice of any volume and any label or region."""
    if head == "regions":
        pairs = [
            (logits[:, r] > 0, torch.isin(label, torch.tensor(v))) for r, v in enumerate(REGIONS)
        ]
    else:
        pairs = [(logits.argmax(1) == v, label == v) for v in (1, 2)]
    both = [(a[i], b[i]) for a, b in pairs for i in range(len(label))]
    return min(float(2 * (a & b).sum() / (a.sum() + b.sum())) for a, b in both)


def learn(net, rate, loss, score):
    """Train until ``score`` in evaluation mode is above ``ENOUGH``; return the scores at every look."""
    channels_last(net)
    optimiser, scores = torch.optim.Adam(net.parameters(), rate), []
    for step in range(STEPS + 1):
        if step % LOOK == 0:
            net.eval()
            with torch.no_grad():
                scores.append(score(net))
            if scores[-1] > ENOUGH:
                break
            net.train()
        optimiser.zero_grad()
        loss(net).backward()
        optimiser.step()
    return scores


DEEP = [name for name in DECODED if CATALOG[name].scales > 1]


PLAIN = [name for name in DECODED if name not in DEEP]
HEADED = each(PLAIN, "softmax") + each(DECODED, "regions") + each(DEEP, "deep")


@pytest.mark.parametrize(("name", "head"), HEADED)
def test_two_volumes_are_learned_by_heart(name, head):
    image, label = phantoms(crop_of(name))
    torch.manual_seed(0)
    net = network(name, "tiny", 1, 2 if head == "regions" else 3, crop_of(name))
    table = torch.from_numpy(one_hot(REGIONS))
    first = of_regions("dice_ce", table) if head == "regions" else of_maps("dice_ce")

    def loss(net):
        return over_scales(first, net.scales(image) if head == "deep" else [net(image)], label)

    rate = 1e-3 if name in WRITTEN else RATE[head]
    scores = learn(net, rate, loss, lambda net: worst_dice(net(image), label, head))
    assert scores[0] < 0.6, "untrained it must not know them"
    assert scores[-1] > ENOUGH, scores


@pytest.mark.parametrize(("name", "head"), each(network_names(), "classes"))
def test_the_classes_of_four_volumes_are_learned_by_heart(name, head):
    crop, true = crop_of(name), torch.tensor([0, 0, 1, 1])
    _, label = phantoms(crop)
    sizes = torch.cat([label > 0, label > 1])[:, None].float()  # whole balls, and cores
    image = sizes + 0.2 * torch.randn(sizes.shape, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    net = classifier(name, "tiny", 1, 2, crop)

    def sureness(net):
        for module in net.modules() if name in SHIFTED else ():
            # dropout stays off
            module.train(isinstance(module, torch.nn.modules.batchnorm._BatchNorm))
        return float(net(image).softmax(1)[torch.arange(4), true].min())

    scores = learn(
        net, RATE[head], lambda net: over_scales(cross_entropy, [net(image)], true), sureness
    )
    assert scores[0] < 0.6, "untrained it must not know them"
    assert scores[-1] > ENOUGH, scores  # so all four are right
