"""What a plan refuses before anything runs: what is stated, as YAML over the small protocol, and what is said."""

import pytest
import yaml
from one_line import refused

TWO_D = """\
networks: {net: {preset: small}, flat: {network: unet2d, preset: small, crop: [64, 64, 1]}}
rows: {pair: {pretrain: {network: flat}}}
pretrain: {crop: [32, 32, 32]}
"""
MASKED = """\
networks: {net: {network: unetr, preset: tiny, crop: [32, 32, 32]}}
rows: {pair: {method: mae3d}}
pretrain: {batch: 4, accumulate: 2}
"""
NORMED = "networks: {net: {network: genesis_unet3d, preset: tiny, crop: [16, 16, 16]}}\n"
RESTORED = f"{NORMED}rows: {{pair: {{method: models_genesis}}}}\n"
CUT = "pretrain: {batch: 4, accumulate: 2}\n"
CODED = f"{CUT}rows: {{pair: {{method: cpc3d, params: {{negatives: batch}}}}}}"
BATCHES = [  # of one process
    ("finetune: {batch: 3, accumulate: 2}", "finetune.batch 3 cannot be divided into 2 equal"),
    (CUT, "'simclr3d' compares the samples of a batch"),
    (CODED, "'cpc3d' compares the samples of a batch"),
    (
        f"{RESTORED}pretrain: {{batch: 4, accumulate: 4}}",
        "pretrain.accumulate: network 'genesis_unet3d' has batch norm.* use more processes",
    ),
    (
        f"{NORMED}finetune: {{batch: 4, accumulate: 4}}",
        "finetune.accumulate: network 'genesis_unet3d' has batch norm.* smaller batch",
    ),
    (
        "finetune: {batch: 4, accumulate: 4, batch_dice: true}",
        "finetune.accumulate: batch_dice is computed over the whole batch",
    ),
    ("pretrain: {accumulate: 0}", "accumulate must be above 0"),
    ("finetune: {fractions: [3]}", "3 % of 14 training patients .* use at least 4 %"),
    ("rows: {alone: {params: {temprature: 1}}}", "rows.alone.params: .* temprature: unknown key"),
]
PROCESSES = [
    (
        "pretrain: {batch: 6}",
        "batch 6 cannot be divided into 4 equal .* 4 processes x accumulate 1",
    ),
    (MASKED, "into 8 equal parts.* use a multiple of 8"),
]

LOADED = "rows: {{loaded: {{method: simclr3d, network: net, init: weights.safetensors, {}}}}}"
OF_FILES = r"yaml:\d+: rows\.loaded\.init: the weights come from"
ALIKE = "{method: scratch, network: net}"
STARTS = [
    (f"{LOADED.format('at: 4')}\npretrain: {{snapshots: [4]}}", OF_FILES),
    (f"{LOADED.format('pretrain: {steps: 3}')}\npretrain: {{snapshots: [4]}}", OF_FILES),
    (LOADED.format("method: scratch").replace("method: simclr3d, ", ""), OF_FILES),
    ("pretrain: null\nbaseline: none", r"\d+: rows\.pair: needs a 'pretrain' section, or 'init: F"),
    ("controls: [randon]", r"\d+: controls\.0: expected one of random, shuffled, long"),
    (
        "controls: [long]\nrows: {pair: null}\npretrain: null",
        r"\d+: controls\.0: no row is from scratch on a network that another pretrains here",
    ),
    ("controls: [long]\nrows: {pair: {init: weights.safetensors}}", r"\d+: controls.0: no row is"),
    ("controls: [random]\nrows: {pair: null}", r"\d+: controls\.0: no row starts from weights"),
    (
        f"controls: [long]\nrows: {{alone (long): {ALIKE}}}",
        r"\d+: rows\.alone \(long\): a variant of row 'alone' has this name",
    ),
    ("controls: random", r"\d+: controls: expected a list"),
    (
        f"controls: [random]\nrows: {{pair (random): {ALIKE}}}",
        r"\d+: rows\.pair \(random\): a variant of row 'pair' has this name",
    ),
    (
        "rows: {pair: {finetune: {regions: {a: [1]}}}}",
        r"\d+: rows\.pair\.finetune\.regions: a row cannot change this",
    ),
    (
        "finetune: {anchor: {mean: 86}}",
        r"\d+: finetune\.0\.anchor\.mean must be from 0 to 1, got 86",
    ),
    *(
        (
            f"finetune: {{split: cv5, {judged}}}",
            "best_val, patience and tune need validation .*'cv5'.*set 'holdout'",
        )
        for judged in ("select: best_val", "patience: 0.2", "tune: {over: {rate: [1, 2]}}")
    ),
]

NETS = "networks: {{net: {{preset: small}}, other: {{network: {}}}}}\npretrain: {{network: other}}"
UNFIT = "weights of network {} do not fit unet3d/small"
FLAT = """\
networks:
  net: {preset: small}
  other: {network: unet2d, preset: small, crop: [32, 32, 1]}
finetune: {crop: null}
rows: {pair: {network: other, pretrain: {network: net}}, alone: {network: other}}
"""
CROPS = [
    (
        "pretrain: {crop: [30, 32, 32]}",
        r"yaml:\d+: pretrain\.crop: crop \(30, .*side x = 30 must be",
    ),
    ("finetune: {crop: [32, 32, 7]}", r"yaml:\d+: finetune\.0\.crop: .*side z = 7 must"),
    ("rows: {pair: {pretrain: {crop: [32, 32, 8]}}}", r"pair\.pretrain\.crop: .*side z = 8"),
    ("rows: {pair: {finetune: {crop: [32, 8, 32]}}}", r"pair\.finetune\.crop: .*side y = 8"),
    ("pretrain: {crop: [32, 32]}", r"pretrain\.crop: expected 3 values, got 2"),
    ("finetune: {crop: auto}", r"finetune\.0\.crop: expected a list"),
    ("pretrain: {crop: [0, 32, 32]}", r"crop must be above 0"),
    ("pretrain: {network: nat}", r"yaml:\d+: pretrain\.network: no entry of net.*did you mean"),
    (TWO_D, r"pretrain\.crop: .*it reads single slices"),
    (
        NETS.format("unet3d, preset: tiny, crop: [32, 32, 32]"),
        f"row 'pair': {UNFIT.format('unet3d/tiny')}; pretrain and fine-",
    ),
    (NETS.format("segresnet, preset: small, crop: [32, 32, 32]"), UNFIT.format("segresnet/small")),
    (FLAT, "weights of network unet3d/small do not fit unet2d/small"),
    (
        "rows: {pair: {method: voco}}",
        r"grid of .* needs \(128, 128, 32\) voxels and a volume has \(\d+, .*recipe resize to",
    ),
    (  # 0.25 mm: a smaller crop fits
        "rows: {pair: {method: voco}}\npretrain: {recipe: {scale: zscore, spacing: [0.25, 0.25, 0.25]}}",
        r"row 'pair': a \(4, 4, 1\) grid of .*; use \[\d+, \d+, \d+\], which fits all rows",
    ),
]

HEAD = (
    "finetune: [{{dataset: msd04_hippocampus, split: even, steps: 6, head: regions, regions: {}}}]"
)
OF_DATA = r"finetune\.0\.{}: data set 'msd04_hippocampus' {}"
REGIONS = [
    (HEAD.format("{}"), OF_DATA.format("head", "declares no regions; write 'regions'")),
    (HEAD.format("{a: [3]}"), OF_DATA.format("regions", "has the labels 1 anterior")),
    (HEAD.format("{a: [0, 1]}"), "has the labels 1 anterior"),
    (HEAD.format("{a: []}"), "has the labels 1 anterior"),
    (HEAD.format("{a: 1}"), r"finetune\.0\.regions\.a: expected a list"),
    (HEAD.format("{a: ['1']}"), r"regions\.a\.0: expected a whole number"),
    (HEAD.format("{both: [1, 2], a: [1], b: [2]}"), "region 'both' of .* no label of its own"),
    ("finetune: {head: sigmoid}", "expected one of softmax, regions"),
]

SECTION = "finetune: [{{dataset: {}, split: even, steps: 2}}]"
READ = "pretrain: {{datasets: [{}]}}"
UNREADABLE = [  # without data
    (SECTION.format("covid19_ct"), "'covid19_ct' has no labels"),
    (SECTION.format("aptos19"), "'aptos19' holds pictures"),
    (
        READ.format("{dataset: ukb_brain_flair}"),
        r"pretrained on 2 channel\(s\), and data set 'msd04_hippocampus' has 1",
    ),
    (
        READ.format("{dataset: msd05_prostate}, {dataset: msd04_hippocampus}"),
        "msd05_prostate 2, msd04_hippocampus 1",
    ),
]

RECIPE = (
    "{method: supervised, network: net, ceiling: true, params: {labels: own}, pretrain: {steps: 2}}"
)
CEILINGS = [
    ("controls: [ceiling]\nrows: {alone: null}\nbaseline: none", "yaml.* needs a row from scratch"),
    (f"controls: [ceiling]\nrows: {{ceiling: {ALIKE}}}", "yaml.* rename the row"),
    (f"rows: {{top: {RECIPE}}}", "yaml.* always uses its section's recipe"),
    ("rows: {pair: {dose: 0.5}}", "yaml.* only a row with 'ceiling: true'"),
    ("rows: {pair: {dose: -0.1}}", r"yaml:\d+: rows\.pair\.dose must be from 0 to 1"),
]

TRACK = "finetune: {{fractions: [100], seeds: [0], track: {}}}"
CURVES = [
    (TRACK.format("{part: val}"), "or 'every_epochs'"),
    (TRACK.format("{every: 1, every_epochs: 1}"), "or 'every_epochs'"),
    (TRACK.format("{every: 0}"), "every must be above 0"),
    (TRACK.format("{part: all, every: 1}"), "expected one of val, test, train, got 'all'"),
    (TRACK.format("{every: 7}"), "is 7, but the training at 100 % of the labels has 6 steps"),
    (
        TRACK.format("{every: 1}, split: cv5"),
        "hippocampus: 'track: {part: val}' needs validation .*, and split 'cv5' has none in fold 0",
    ),
]

GRID = "finetune: {{fractions: [100], tune: {{over: {}}}}}"
GRIDS = [
    (GRID.format("{}"), "name at least one key"),
    (GRID.format("{rate: []}"), "name at least one key"),
    (GRID.format("{split: [even]}"), "'split' cannot be tuned"),
    (GRID.format("{steps: [1, 2]}"), "'steps' cannot be tuned"),
    (GRID.format(f"{{rate: {[*range(1, 66)]}}}"), "65 recipes are more than 64"),
    (GRID.format("{rate: [0.001]}, runs: 3"), "tune.runs 3 needs at least 3 seeds"),
    (GRID.format("{rate: [0.001]}, runs: other"), "tune.runs"),
    (GRID.format("{rate: [0.001]}, 'on': test"), "tune.on"),
    (GRID.format("{loaded.rat: [0.001]}"), "rat"),
    (GRID.format("{norm: [batch, keep]}"), "norm"),
    (
        GRID.format("{rate: [1, 2]}, runs: others").replace("[100]", "[100], seeds: [0]"),
        r"tune\.runs others needs at least 2 seeds, there are 1",
    ),
    (GRID.format("{lr: [0.1]}"), "'lr' cannot be tuned; did you mean 'optimiser.lr'"),
    (GRID.format("{rat: [0.1]}"), "'rat' cannot be tuned; did you mean 'rate'"),
    (GRID.format("{rate: [0.1], optimiser.lr: [0.2]}"), "'rate' and 'optimiser.lr' both set"),
    (
        f"{GRID.format('{rate: [0.1, 0.2]}')}\nrows: {{pair: {{finetune: {{optimiser: {{lr: 0.3}}}}}}}}",
        r"\d+: rows\.pair\.finetune\.optimiser\.lr: finetune\.0\.tune\.over\.rate \(line \d+\) .*'tune: null'",
    ),
    (
        "rows: {pair: {finetune: {optimiser: {lr: 0.3}, tune: {over: {rate: [0.1]}}}}}",
        r"rows\.pair\.finetune\.optimiser\.lr: rows\.pair\.finetune\.tune\.over\.rate .*remove one of them$",
    ),
]

WRONG = "scale: wnidow"
MIXED = "pretrain: {{datasets: [{{dataset: msd04_hippocampus, recipe: {}}}]}}"
PREPARED = [  # the place that states a recipe, and what is wrong with it
    (f"finetune: {{recipe: {{{WRONG}}}}}", r"yaml:\d+: finetune\.0\.recipe: no scale named"),
    (f"pretrain: {{recipe: {{{WRONG}}}}}", r"yaml:\d+: pretrain\.recipe: no scale named"),
    (MIXED.format(f"{{{WRONG}}}"), r"yaml:\d+: pretrain\.datasets\.0\.recipe: no scale named"),
    (MIXED.format("defaut"), r"yaml:\d+: pretrain\.datasets\.0\.recipe: no recipe of data set"),
    (
        f"rows: {{alone: {{finetune: {{recipe: {{{WRONG}}}}}}}}}\nbaseline: unequal",
        r"yaml:\d+: rows\.alone\.finetune\.recipe: no scale named",
    ),
    (f"recipe: {{{WRONG}}}", r"yaml:\d+: recipe: no scale named 'wnidow'; did you mean 'window'"),
    (
        "recipe: {resize: [8, 8, 8]}\nfinetune: {recipe: {scale: zscore, spacing: [1, 1, 1]}}",
        r"yaml:\d+: recipe: set either 'spacing' or 'resize', not both",
    ),
    (
        "pretrain: {recipe: {scale: zscore, channels: [0, 1]}}",
        r"yaml:\d+: pretrain\.recipe: channels \[0, 1\]: .*has only the channels 0 T1",
    ),
]

PROBE = "pretrain: {{probe: {{dataset: {}, patients: 4, every: 3}}}}"
PROBED = PROBE.format("msd04_hippocampus")
AT = r"test0\.yaml:\d+: pretrain\.probe"
PROBES = [
    (
        PROBED.replace("every: 3", "every: 9"),
        rf"{AT}\.every: .*9 steps, but the pretraining has only 8",
    ),
    (PROBED.replace("patients: 4", "patients: 15"), rf"{AT}\.patients: 15 .* only 14 labelled"),
    (PROBED.replace("patients: 4", "patients: 1"), rf"{AT}\.patients.* must be"),
    (PROBE.format("msd04"), rf"{AT}\.dataset: .*msd04"),
    (PROBE.format("msd02_heart"), rf"{AT}\.dataset: .*neither fine-tunes nor pretrains on this"),
    (PROBE.format("luna16"), rf"{AT}\.dataset: .*no label maps and no classes"),
    (f"{PROBED}\nfinetune: {{split: cv5}}", rf"{AT}\.patients: .*only 0 labelled patients"),
    (PROBED.replace("every: 3", "every: 3, recipe: none"), rf"{AT}\.recipe: .*recipe of data set"),
    (PROBED.replace("every: 3", "every: 3, levels: [9]"), rf"{AT}\.levels: .*no level 9"),
    (PROBED.replace("every: 3", "every: 3, levels: []"), rf"{AT}\b.*levels is empty"),
    (PROBED.replace("every: 3", "every: 3, intensity: [2]"), rf"{AT}\b.*sides must be odd"),
    (PROBED.replace("every: 3", "every: 3, kind: knn"), rf"{AT}\.kind: .*kind"),
]

PICTURES = [
    ("embeddings: {samples: 0}", "samples must be above 0"),
    ("embeddings: {beside: {a: {network: nte, init: f}}}", "did you mean 'net'"),
    ("embeddings: {sample: 3}", "did you mean 'samples'"),
    ("embeddings: {samples: 5}\npretrain: null\nrows: {pair: null}", "add 'pretrain'"),
]

EVERY = {  # of which part of a protocol: how it is planned, and the mistakes
    "batches and parameters": ({}, BATCHES),
    "processes": ({"processes": 4}, PROCESSES),
    "starts and controls": ({}, STARTS),
    "crops": ({}, CROPS),
    "regions": ({}, REGIONS),
    "data": ({"data": None}, UNREADABLE),
    "positive controls": ({}, CEILINGS),
    "learning curves": ({}, CURVES),
    "grids": ({}, GRIDS),
    "recipes": ({}, PREPARED),
    "online probes": ({}, PROBES),
    "pictures": ({}, PICTURES),
}


@pytest.mark.parametrize(
    ("how", "stated", "said"),
    [
        pytest.param(how, *row, id=f"{part} {n}")
        for part, (how, rows) in EVERY.items()
        for n, row in enumerate(rows)
    ],
)
def test_a_mistake_is_refused_before_anything_runs(plan_of, how, stated, said):
    with refused(said):
        plan_of(yaml.safe_load(stated), **how)
