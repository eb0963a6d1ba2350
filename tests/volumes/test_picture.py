"""Pictures and folders of slices: read like volumes, refused by kind where they are damaged."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import GREY, kind_of
from samples import picture as save

from bench.volumes.reading import (
    join_channels,
    read_as_stored,
    read_header,
    read_label,
    read_volume,
)

# as bench.volumes.picture says outside of pytest
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
# what JPEG keeps within a level
SMOOTH = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "tiff"])
def test_columns_are_x_and_rows_are_y(tmp_path, suffix):
    for pixels, channels in ((GREY, 1), (COLOUR, 3)):
        path = save(tmp_path / f"a{channels}.{suffix}", pixels)
        volume, header = read_volume(path), read_header(path)
        assert volume.array.shape == (channels, 7, 5, 1)
        assert volume.array.dtype == header.dtype == np.uint8
        assert volume.array.flags.c_contiguous
        np.testing.assert_array_equal(volume.array[0, 6, 1, 0], pixels.reshape(5, 7, -1)[1, 6, 0])
        np.testing.assert_array_equal(
            volume.array[..., 0], pixels.reshape(5, 7, -1).transpose(2, 1, 0)
        )
        assert (header.shape, header.channels, header.nbytes) == (
            (7, 5, 1),
            channels,
            35 * channels,
        )
        assert header.spacing == volume.spacing == (1.0, 1.0, 1.0)
        np.testing.assert_array_equal(volume.affine, np.eye(4))
        assert join_channels([volume, volume]).array.shape == (2 * channels, 7, 5, 1)


def test_a_jpeg_is_read_in_its_own_colours(tmp_path):
    array = read_volume(save(tmp_path / "a.jpg", SMOOTH, quality=95)).array
    assert np.abs(array[0, :, :, 0].T.astype(int) - SMOOTH).max() <= 3
    assert read_volume(save(tmp_path / "b.jpeg", SMOOTH, "RGB")).array.shape == (3, 80, 60, 1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_of_grey_are_kept(tmp_path, suffix):
    wide = GREY.astype(np.uint16) * 257
    volume = read_volume(save(tmp_path / f"a.{suffix}", wide))
    assert volume.array.dtype == np.uint16
    np.testing.assert_array_equal(volume.array[0, :, :, 0], wide.T)


def test_palettes_become_colour_and_bits_become_grey(tmp_path):
    few = COLOUR // 128 * 128
    palette = read_volume(save(tmp_path / "a.png", few, "P")).array
    assert palette.shape == (3, 7, 5, 1)
    bits = read_volume(save(tmp_path / "b.png", GREY, "1")).array
    assert set(np.unique(bits)) == {0, 255}


def test_a_label_saved_in_colour_is_one_channel_where_its_colours_are_grey(tmp_path):
    grey = np.array([[0, 1, 2], [3, 0, 255]], np.uint8)
    path = save(tmp_path / "a.png", np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_label(path).array[..., 0], grey.T)
    assert (
        kind_of(save(tmp_path / "b.png", np.dstack([grey, grey, grey * 0])), read_label) == "shape"
    )


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
@pytest.mark.parametrize(
    "colours", [[0, 0, 0, 128, 0, 0, 0, 128, 0], [0, 0, 0, 255, 255, 255, 90, 90, 90]]
)
def test_a_label_with_a_palette_is_its_indices_and_an_image_its_colours(tmp_path, suffix, colours):
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    for path in (
        tmp_path / f"a.{suffix}",
        tmp_path / "scan" / f"1.{suffix}",
        tmp_path / "scan" / f"2.{suffix}",
    ):
        path.parent.mkdir(exist_ok=True)
        made = Image.frombytes("P", (3, 2), labels.tobytes())
        made.putpalette(colours)
        made.save(path)
    for read in (read_label, read_as_stored):
        np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}").array[..., 0], labels.T)
        np.testing.assert_array_equal(read(tmp_path / "scan").array, np.dstack([labels.T] * 2))
    seen = read_volume(tmp_path / f"a.{suffix}").array[..., 0]
    np.testing.assert_array_equal(seen, np.array(colours).reshape(3, 3)[labels].transpose(2, 1, 0))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_dropped_where_it_hides_nothing(tmp_path, mode):
    opaque = Image.fromarray(COLOUR).convert(mode)
    opaque.save(tmp_path / "a.png")
    assert read_volume(tmp_path / "a.png").array.shape[0] == (1 if mode == "LA" else 3)
    opaque.putpixel((2, 2), (*(9,) * (len(mode) - 1), 254))
    opaque.save(tmp_path / "b.png")
    assert kind_of(tmp_path / "b.png") == "unreadable"


def test_exif_does_not_turn_a_photograph(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    volume = read_volume(save(tmp_path / "a.jpg", SMOOTH, exif=exif.tobytes()))
    assert volume.array.shape == (1, 80, 60, 1)
    assert volume.array[0, 79, 59, 0] > 100 > volume.array[0, 0, 0, 0]


def test_the_header_decodes_no_pixel(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((400, 300), np.uint8))
    path.write_bytes(path.read_bytes()[:60])
    assert read_header(path).shape == (300, 400, 1)
    assert kind_of(path) == "truncated"


# --- damage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["CMYK", "F", "I"])
def test_pixels_that_are_neither_grey_nor_rgb_are_refused(tmp_path, mode):
    path = tmp_path / "a.tif"
    Image.fromarray(COLOUR).convert("L").convert(mode).save(path)
    assert kind_of(path) == kind_of(path, read_header) == "unreadable"


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_several_pictures_in_one_file_are_refused(tmp_path, name):
    frames = [Image.fromarray(GREY + n) for n in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert kind_of(tmp_path / name) == kind_of(tmp_path / name, read_header) == "shape"


# --- folders of slices -----------------------------------------------------------------------


def scan(folder: Path, names: list[str], size: tuple[int, int] = (5, 7)) -> list[np.ndarray]:
    slices = [RNG.integers(0, 256, size, dtype=np.uint8) for _ in names]
    for name, pixels in zip(names, slices, strict=True):
        save(folder / name, pixels)
    return slices


def stack(slices: list[np.ndarray]) -> np.ndarray:
    return np.stack(slices, -1).transpose(1, 0, 2)


def test_slices_are_stacked_in_the_order_of_their_numbers(tmp_path):
    slices = scan(tmp_path, ["2.png", "10.tif", "9.bmp", "._2.png"])[:3]
    (tmp_path / "notes.txt").write_text("x")
    volume, header = read_volume(tmp_path), read_header(tmp_path)
    np.testing.assert_array_equal(volume.array[0], stack([slices[0], slices[2], slices[1]]))
    assert volume.array.flags.c_contiguous
    assert (header.shape, header.channels, header.nbytes) == ((7, 5, 3), 1, 105)


def test_equal_channels_become_one(tmp_path):
    save(tmp_path / "s" / "1.png", GREY, "RGB")
    save(tmp_path / "s" / "2.jpg", SMOOTH[:5, :7], "RGB")
    array = read_volume(tmp_path / "s").array
    np.testing.assert_array_equal(array[0, :, :, 0], GREY.T)


def test_slices_of_another_size_are_resampled_to_the_most_frequent(tmp_path):
    for n in (1, 2):
        save(tmp_path / f"{n}.png", np.full((6, 8), 10 * n, np.uint8))
    save(tmp_path / "0.png", np.full((3, 4), 30, np.uint8))
    array = read_volume(tmp_path).array
    assert array.shape == (1, 8, 6, 3)
    assert array.dtype == np.uint8
    assert array[0, :, :, 0].tolist() == [[30] * 6] * 8
    save(tmp_path / "3.png", np.full((3, 4), 30, np.uint8))
    assert read_header(tmp_path).shape == (8, 6, 4)  # of two equally frequent sizes the larger


def test_slices_that_do_not_belong_together_are_refused(tmp_path):
    scan(tmp_path / "formats", ["1.png", "2.png", "2.tif"])
    assert (
        kind_of(tmp_path / "formats") == kind_of(tmp_path / "formats", read_header) == "duplicate"
    )
    scan(tmp_path / "bits", ["1.png"])
    save(tmp_path / "bits/2.png", GREY.astype(np.uint16))
    assert kind_of(tmp_path / "bits") == "unreadable"
    scan(tmp_path / "img.nii.gz", ["1.png"])  # a name of a volume is a volume's
    assert kind_of(tmp_path / "img.nii.gz") == kind_of(tmp_path) == "unreadable"


def test_a_scan_in_a_zip_is_read_in_place(tmp_path):
    slices = scan(tmp_path / "s" / "7", ["1.png", "2.png", "10.png"])
    scan(tmp_path / "s" / "77", ["1.png"])
    archive = tmp_path / "NCP-1.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((tmp_path / "s").rglob("*.png")):
            file.write(path, path.relative_to(tmp_path / "s"))
        file.write(tmp_path / "s/7/1.png", "7/._1.png")
    volume = read_volume(archive / "7")
    np.testing.assert_array_equal(volume.array[0], stack(slices))
    assert read_header(archive / "7").shape == (7, 5, 3)
    assert read_volume(archive / "7" / "2.png").array.shape == (1, 7, 5, 1)
    assert kind_of(archive / "8") == "missing"
    archive.write_bytes(archive.read_bytes()[:-30])
    assert kind_of(archive / "7") == "unreadable"
