"""nnU-Net's side of ``learning.py``, run by the interpreter of an environment that has ``nnunetv2``.

    python tools/speed/nnunet_side.py JOB.json      {"train": [[image, label]], "test": ..., "patch", "batch",
                                                     "width", "steps", "folder"}

Everything is nnU-Net's own: fingerprint, plan, preprocessing, trainer (SGD, poly, deep supervision, its
augmentation in this one process) and predictor, without mirroring, as the other sides have none. Only the
patch, the batch and, with ``width``, the channels of the first stage are set in its plan. Prints the mean
Dice over structures, then cases.
"""

import json
import os
import shutil
import sys
from pathlib import Path

EPOCH = 50  # iterations after which its schedule moves
NAME, NUMBER = "Dataset004_Hippocampus", 4


def raw(folder: Path, job: dict) -> None:
    """Lay out the training cases as nnU-Net reads them; one of them validates, as its trainer wants some."""
    home = folder / "raw" / NAME
    for part, kind in (("imagesTr", 0), ("labelsTr", 1)):
        (home / part).mkdir(parents=True)
        for number, pair in enumerate(job["train"]):
            suffix = "_0000" if kind == 0 else ""
            shutil.copy(pair[kind], home / part / f"case_{number:03d}{suffix}.nii.gz")
    about = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": len(job["train"]),
        "file_ending": ".nii.gz",
    }
    (home / "dataset.json").write_text(json.dumps(about))


def planned(folder: Path, job: dict) -> None:
    """Let nnU-Net look at the data, plan and preprocess; then set patch, batch and width."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    api.extract_fingerprints([NUMBER], num_processes=1)
    api.plan_experiments([NUMBER])
    file = folder / "preprocessed" / NAME / "nnUNetPlans.json"
    plans = json.loads(file.read_text())
    result = plans["configurations"]["3d_fullres"]
    result["patch_size"], result["batch_size"] = job["patch"], job["batch"]
    if job["width"]:
        sizes = result["architecture"]["arch_kwargs"]
        sizes["features_per_stage"] = [job["width"] * 2**i for i in range(sizes["n_stages"])]
    file.write_text(json.dumps(plans))
    api.preprocess([NUMBER], configurations=["3d_fullres"], num_processes=[1])
    names = [f"case_{number:03d}" for number in range(len(job["train"]))]
    splits = [{"train": names, "val": names[:1]}]
    (folder / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(splits))


def trained(job: dict):
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    # augmentation in this process; its planner wants a number above 0
    os.environ |= {"nnUNet_n_proc_DA": "0"}
    trainer = get_trainer_from_args(str(NUMBER), "3d_fullres", 0, device=torch.device("cpu"))
    trainer.num_iterations_per_epoch = min(EPOCH, job["steps"])
    trainer.num_epochs = max(1, round(job["steps"] / trainer.num_iterations_per_epoch))
    trainer.num_val_iterations_per_epoch = 1
    trainer.disable_checkpointing = True
    trainer.run_training()
    return trainer


def scored(trainer, job: dict) -> float:
    import numpy as np
    import torch
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    trainer.set_deep_supervision_enabled(False)
    weights = trainer.network.state_dict()
    plans = trainer.plans_manager, trainer.configuration_manager
    named = type(trainer).__name__
    predictor.manual_initialization(
        trainer.network, *plans, [weights], trainer.dataset_json, named, None
    )
    reader, result = SimpleITKIO(), []
    for image, label in job["test"]:
        voxels, about = reader.read_images([image])
        guess = predictor.predict_single_npy_array(voxels, about)
        truth = reader.read_seg(label)[0][0]
        pairs = [(guess == k, truth == k) for k in (1, 2)]
        result.append(np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs]))
    return float(np.mean(result))


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(job["folder"])
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
        (folder / name).mkdir(exist_ok=True)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
    raw(folder, job)
    planned(folder, job)
    print(json.dumps(scored(trained(job), job)))


if __name__ == "__main__":
    main()
