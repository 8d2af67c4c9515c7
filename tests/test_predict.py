"""Pictures as people have them: what ``predict`` makes of them before a net sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from fmnist_sweep.commands import predict
from fmnist_sweep.errors import DataError, ExportError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def read(path: Path, side: int = 16, channels: int = 1, *, invert: bool = False) -> NDArray[np.float32]:
    images = predict._read(path, (side, side, channels), invert)
    assert len(images) == 1
    return images.reshape(images.shape[1:])


@pytest.mark.parametrize(("here", "found"), [(False, "home/exports/shoes"), (True, "shoes")])
def test_a_model_that_is_not_here_is_looked_up_among_the_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool, found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    exports = Path("home/exports")
    for folder in (exports / "shoes", *([Path("shoes")] if here else [])):
        folder.mkdir(parents=True)
    with pytest.raises(ExportError, match=f"^{found} is no exported model"):
        predict.predict(Path("shoes"), [Path("x.png")], exports=exports, invert=False, console=Console(quiet=True))
    with pytest.raises(ExportError, match="hats is no exported model"):
        predict.predict(Path("hats"), [Path("x.png")], exports=exports, invert=False, console=Console(quiet=True))


def test_sixteen_bits_are_read_as_eight(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "8.png")
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "16.png")
    assert np.array_equal(read(tmp_path / "16.png"), read(tmp_path / "8.png"))
    assert np.array_equal(read(tmp_path / "8.png")[:, :, 0], RAMP)


def test_a_picture_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    turned = Image.fromarray(np.rot90(RAMP).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "held.png", exif=exif)
    assert np.array_equal(read(tmp_path / "held.png")[:, :, 0], RAMP)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_the_ground_and_not_the_colour_behind_it(tmp_path: Path, channels: int) -> None:
    """Dark for clothes that are light on dark, and light where they are dark on light."""
    pixels = np.full((16, 16, 4), 200, np.uint8)
    pixels[:, :, 3] = 255
    pixels[:8, :, 3] = 0
    Image.fromarray(pixels, "RGBA").save(tmp_path / "cut-out.png")
    assert set(read(tmp_path / "cut-out.png", channels=channels)[:8].ravel()) == {0.0}
    assert set(read(tmp_path / "cut-out.png", channels=channels)[8:].ravel()) == {200.0}
    assert set(read(tmp_path / "cut-out.png", channels=channels, invert=True)[:8].ravel()) == {0.0}
    assert set(read(tmp_path / "cut-out.png", channels=channels, invert=True)[8:].ravel()) == {55.0}


def test_an_unreadable_note_on_how_a_camera_was_held_leaves_a_picture_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "odd.png", exif=b"Exif\x00\x00this is none")
    assert np.array_equal(read(tmp_path / "odd.png")[:, :, 0], RAMP)


def test_a_picture_that_is_too_large_or_cut_off_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RAMP).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"cut.png: no image that can be read"):
        read(tmp_path / "cut.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"whole.png: no image that can be read .*decompression bomb"):
        read(tmp_path / "whole.png")
    with pytest.raises(DataError, match=r"is a folder; valid: a file"):
        read(tmp_path)


@pytest.mark.parametrize(("top", "taken"), [(1.0, False), (0.4, False), (1.5, True), (255.0, True), (0.0, True)])
def test_values_from_0_to_1_are_not_taken_for_black_pictures(tmp_path: Path, top: float, taken: bool) -> None:
    np.save(tmp_path / "scaled.npy", np.linspace(0, top, 256).reshape(16, 16))
    if taken:
        assert read(tmp_path / "scaled.npy").max() == pytest.approx(top)
    else:
        with pytest.raises(DataError, match=f"holds values from 0.0 to {top}; valid: 0 to 255, so times 255"):
            read(tmp_path / "scaled.npy")


def test_an_array_with_an_endless_header_is_refused_in_one_line(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 28, 28), }".ljust(20_000) + b"\n"
    (tmp_path / "odd.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(784))
    with pytest.raises(DataError, match=r"no \.npy array that can be read") as caught:
        predict._array(tmp_path / "odd.npy")
    assert "\n" not in str(caught.value)
