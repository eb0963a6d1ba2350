"""My dataset: a folder of scans, images/ID.nii.gz with labels/ID.nii.gz."""

from bench.dataset import Case, Dataset, Recipe, clean
from bench.errors import BenchError
from bench.source import Source


class MyDataset(Dataset):
    """One scan of each patient. Scans without a label map are pretrained on, and not scored."""

    source = Source("Who, What, Where and When", "https://example.org")
    title = "My dataset"
    licence = "not stated"
    modality = "CT"
    channels = ("CT",)
    labels = {1: "liver", 2: "kidney"}
    recipes = {"default": Recipe(spacing=(10.0, 10.0, 10.0), window=(-175.0, 250.0))}  # mm, coarse; HU
    splits = {"mine": "my_dataset.mine.json"}  # under splits/, beside this file: patients by name
    unpack = "unpack it so that my_dataset/ holds images/ID.nii.gz, and labels/ID.nii.gz where there is one"

    def cases(self, root):
        images = clean(root.glob("images/*.nii.gz"))
        if not images:
            raise BenchError(f"{root}: no images/*.nii.gz; {self.unpack}")
        found = []
        for image in images:
            label, name = root / "labels" / image.name, image.name.removesuffix(".nii.gz")
            found.append(Case(name, patient=name, images=(image,), label=label if label.exists() else None))
        return found

    @classmethod
    def phantom(cls, root, cases, seed):
        from bench.phantoms.organs import organs, write_nifti

        for i in range(cases):
            image, label = organs((32, 26, 24), (10.0, 10.0, 10.0), len(cls.labels), seed, i)
            write_nifti(root / "images" / f"scan_{i + 1:03d}.nii.gz", image, (10.0, 10.0, 10.0), "int16")
            write_nifti(root / "labels" / f"scan_{i + 1:03d}.nii.gz", label, (10.0, 10.0, 10.0), "uint8")
