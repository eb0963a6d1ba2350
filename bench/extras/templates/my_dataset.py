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
    recipes = {"default": Recipe(spacing=(10.0, 10.0, 10.0), window=(-175.0, 250.0))}  # mm; HU
    splits = {"mine": "my_dataset.mine.json"}  # under splits/, beside this file: patients by name
    unpack = "unpack it so that my_dataset/ holds images/ID.nii.gz, and labels/ID.nii.gz where there is one"

    def cases(self, root):
        images = clean(root.glob("images/*.nii.gz"))
        if not images:
            raise BenchError(f"{root}: no images/*.nii.gz; {self.unpack}")
        cases = []
        for image in images:
            name, label = image.name.removesuffix(".nii.gz"), root / "labels" / image.name
            label = label if label.exists() else None
            cases.append(Case(name, patient=name, images=(image,), label=label))
        return cases

    @classmethod
    def phantom(cls, root, cases, seed):
        from bench.phantoms.organs import organs, write_nifti

        spacing = (10.0, 10.0, 10.0)
        for i in range(cases):
            image, label = organs((32, 26, 24), spacing, len(cls.labels), seed, i)
            name = f"scan_{i + 1:03d}.nii.gz"
            write_nifti(root / "images" / name, image, spacing, "int16")
            write_nifti(root / "labels" / name, label, spacing, "uint8")
