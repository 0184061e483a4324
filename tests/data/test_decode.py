"""Files of every kind become upright RGB images, or say why not."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from atomtune.data.decode import decode, to_rgb
from atomtune.data.heic import HeicSupportMissing
from photo_files import noise, png_header


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_images_are_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.new("RGB", (48, 32), (0, 0, 0))
    upright.paste((255, 255, 255), (0, 0, 24, 16))
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    (upright.transpose(stored) if stored is not None else upright).save(path, exif=exif, quality=95)
    image, size = decode(path, 32)
    assert (image.size, size) == ((48, 32), (48, 32))
    assert np.abs(pixels(image) - pixels(upright)).mean() < 4


def test_damaged_exif_is_no_reason_to_refuse(tmp_path: Path) -> None:
    noise(32, 32).save(tmp_path / "odd.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x00\x01")
    image, _ = decode(tmp_path / "odd.jpg", 32)
    assert image.size == (32, 32)


def ramp(top: float, dtype: type = np.uint16) -> np.ndarray:
    return np.tile(np.linspace(0, top, 64), (4, 1)).astype(dtype)


DEEP = {
    "I;16.tiff": (ramp(65535), 0, 255),
    "I;16.png": (ramp(65535), 0, 255),
    "I;16-half.tiff": (ramp(32768), 0, 128),
    "I;16-half.png": (ramp(32768), 0, 128),
    "I.tiff": (ramp(65535, np.int32), 0, 255),
    "I-8bit.tiff": (ramp(255, np.int32), 0, 255),
    "I-32bit.tiff": (ramp(1e6, np.int32), 0, 255),
    "F.tiff": (ramp(1.0, np.float32), 0, 255),
    "F-half.tiff": (ramp(0.5, np.float32), 0, 128),
    "F-255.tiff": (ramp(255.0, np.float32), 0, 255),
    "F-signed.tiff": (ramp(2.0, np.float32) - 1.0, 0, 255),
    "F-nan.tiff": (np.full((4, 64), np.nan, dtype=np.float32), 0, 0),
    "F-flat.tiff": (np.full((4, 64), -7.0, dtype=np.float32), 0, 0),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_greys_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    values, low, high = DEEP[name]
    Image.fromarray(values).save(tmp_path / name)
    row = pixels(decode(tmp_path / name, 4)[0])[0, :, 0]
    assert (row[0], row[-1]) == (low, high)
    assert np.abs(np.diff(row, 2)).max() <= 1, "a ramp stays a ramp"


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = noise(8, 8).convert("RGBA")
    # Pillow does not know the way between every two modes
    on_the_way = {"La": "LA", "PA": "P", "YCbCr": "RGB", "HSV": "RGB", "CMYK": "RGB"}
    image = source.convert(on_the_way.get(mode, "RGBA")).convert(mode)
    assert to_rgb(image).mode == "RGB"
    if mode in ("RGB", "RGBA", "RGBX"):
        assert np.array_equal(pixels(to_rgb(image)), pixels(source.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB", "1"])
def test_clear_is_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "clear.png"
    if mode in ("LA", "RGBA"):
        image = Image.new(mode, (8, 8), (0,) * len(mode))
        image.paste(Image.new(mode, (4, 8), (60,) * (len(mode) - 1) + (255,)), (4, 0))
        image.save(path)
    else:
        image = Image.new("L", (8, 8), 0)
        image.paste(255 if mode == "1" else 60, (4, 0, 8, 8))
        image.convert(mode).save(path, transparency=(0, 0, 0) if mode == "RGB" else 0)
    row = pixels(decode(path, 8)[0])[0, :, 0]
    assert row[0] == 255
    assert row[-1] == (255 if mode == "1" else 60)


def test_half_clear_is_mixed_with_white() -> None:
    assert pixels(to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128))))[0, 0].tolist() == [127, 127, 127]


def test_a_deep_grey_can_be_clear() -> None:
    image = Image.fromarray(np.array([[0, 65535, 30000]], dtype=np.uint16))
    image.info["transparency"] = 0
    assert pixels(to_rgb(image))[0, :, 0].tolist() == [255, 255, 117]


def test_print_colours(tmp_path: Path) -> None:
    noise(32, 32).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    image, _ = decode(tmp_path / "print.jpg", 32)
    assert np.abs(pixels(image) - pixels(noise(32, 32))).mean() < 12


def test_profiles_say_what_colours_mean(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain = noise(16, 16)
    for profile in (srgb.tobytes(), lab.tobytes(), b"no profile at all"):
        plain.save(tmp_path / "a.png", icc_profile=profile)
        assert np.array_equal(pixels(decode(tmp_path / "a.png", 16)[0]), pixels(plain))
    # the same curves under another name, with red and blue in each other's place
    swapped = bytearray(srgb.tobytes())
    for tag in range(int.from_bytes(swapped[128:132], "big")):
        at = 132 + 12 * tag
        name = bytes(swapped[at : at + 4])
        swapped[at : at + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    renamed = bytes(swapped).replace("sRGB".encode("utf-16-be"), "BGR ".encode("utf-16-be")).replace(b"sRGB", b"BGR ")
    plain.save(tmp_path / "b.png", icc_profile=renamed)
    seen = pixels(decode(tmp_path / "b.png", 16)[0])
    assert np.abs(seen - pixels(plain)[:, :, ::-1]).max() <= 3


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_of_animations(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    path = tmp_path / f"moving.{suffix}"
    extra = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **extra)
    assert np.abs(pixels(decode(path, 16)[0])[4, 4] - (250, 0, 0)).max() <= 1


def test_large_jpegs_are_decoded_smaller_but_never_too_small(tmp_path: Path) -> None:
    noise(1600, 1200).save(tmp_path / "large.jpg")
    image, size = decode(tmp_path / "large.jpg", 128)
    assert size == (1600, 1200)
    assert image.size == (200, 150)
    assert decode(tmp_path / "large.jpg", 1201)[0].size == (1600, 1200)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("least", [64, 2000])
def test_truncated_jpegs_are_refused(tmp_path: Path, options: dict[str, bool], part: float, least: int) -> None:
    stream = io.BytesIO()
    noise(800, 600).save(stream, "JPEG", **options)
    whole = stream.getvalue()
    (tmp_path / "cut.jpg").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(OSError, match="truncated"):
        decode(tmp_path / "cut.jpg", least)


@pytest.mark.parametrize("suffix", ["png", "webp", "gif", "bmp", "tiff", "avif"])
def test_other_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise(200, 150).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises((OSError, ValueError, SyntaxError, EOFError)):
        decode(path, 64)


def test_pixel_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    for name, side in (("large.png", 12_000), ("huge.png", 60_000)):
        (tmp_path / name).write_bytes(png_header(side, side))
        with pytest.raises((Image.DecompressionBombWarning, Image.DecompressionBombError)):
            decode(tmp_path / name, 512)


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ValueError, match="empty"):
        decode(tmp_path / "empty.jpg", 64)
    # Pillow would start another program for this one
    (tmp_path / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(Image.UnidentifiedImageError):
        decode(tmp_path / "script.jpg", 64)


def test_a_suffix_may_lie(tmp_path: Path) -> None:
    noise(32, 32).save(tmp_path / "photo.heic", format="JPEG")
    assert decode(tmp_path / "photo.heic", 32)[0].size == (32, 32)


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = noise(96, 64)
    heif.from_pillow(stored).save(tmp_path / "phone.heic", quality=95, exif=exif.tobytes())
    image, size = decode(tmp_path / "phone.heic", 64)
    assert (image.mode, image.size, size) == ("RGB", (64, 96), (64, 96))
    assert np.abs(pixels(image) - pixels(stored.transpose(Image.Transpose.ROTATE_270))).mean() < 20


def test_heic_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(HeicSupportMissing, match=r"phone\.heic") as problem:
        decode(tmp_path / "phone.heic", 64)
    assert "atomtune[heic]" in (problem.value.hint or "")


TEXTS = {
    "compressed": lambda info: info.add_text("workflow", "x" * 3_000_000, zip=True),
    "international": lambda info: info.add_itxt("prompt", "猫" * 1_000_000, zip=True),
    "plain": lambda info: info.add_text("parameters", "x" * 2_000_000),
    "64 MB in all": lambda info: [info.add_text(f"part {i}", "x" * 900_000, zip=True) for i in range(80)],
}


@pytest.mark.parametrize("kind", TEXTS)
def test_long_texts_in_a_png_are_dropped_and_its_pixels_read(kind: str, tmp_path: Path) -> None:
    info = PngInfo()
    TEXTS[kind](info)
    image = noise(40, 30)
    image.save(tmp_path / "comfyui.png", pnginfo=info)
    read, size = decode(tmp_path / "comfyui.png", 16)
    assert size == (40, 30)
    assert np.array_equal(pixels(read), pixels(image))


def test_texts_after_the_pixels_and_broken_ones_are_dropped_too(tmp_path: Path) -> None:
    image = noise(40, 30)
    image.save(tmp_path / "plain.png")
    content = (tmp_path / "plain.png").read_bytes()
    end = content.index(b"IEND") - 4
    for number, text in enumerate((b"k\0\0" + zlib.compress(b"x" * 5_000_000), b"k\0\0no stream", b"k\0\x09odd", b"")):
        chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
        path = tmp_path / f"{number}.png"
        path.write_bytes(content[:end] + chunk + content[end:])
        assert np.array_equal(pixels(decode(path, 16)[0]), pixels(image))


def test_a_png_is_still_turned_and_coloured_as_its_metadata_say(tmp_path: Path) -> None:
    xmp = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    info.add_text("workflow", "x" * 2_000_000, zip=True)
    noise(40, 30).save(tmp_path / "turned.png", pnginfo=info)
    assert decode(tmp_path / "turned.png", 16)[0].size == (30, 40)


def test_a_png_that_ends_within_a_text_is_refused(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("workflow", "x" * 2_000_000)
    noise(40, 30).save(tmp_path / "cut.png", pnginfo=info)
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:1_000_000])
    with pytest.raises(OSError, match=r"truncated|cannot"):
        decode(tmp_path / "cut.png", 16)


def test_jpegs_of_more_pixels_than_others_may_have_are_read_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of phones with 108 and 200 megapixels, in miniature: the limit is lowered by the same factor."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_478_485 // 1000)
    for name, size in (("108", (380, 284)), ("200", (516, 388))):
        noise(*size).save(tmp_path / f"{name}.jpg", quality=90)
        read, whole = decode(tmp_path / f"{name}.jpg", 64)
        assert whole == size
        assert 64 <= min(read.size) < min(size)
    limit = Image.MAX_IMAGE_PIXELS
    for path, least in ((tmp_path / "108.jpg", 400), (tmp_path / "giant.jpg", 64)):
        if path.name == "giant.jpg":
            noise(700, 520).save(path)
        with pytest.raises((Image.DecompressionBombWarning, Image.DecompressionBombError)):
            decode(path, least)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.slow
def test_a_photo_of_108_megapixels(tmp_path: Path) -> None:
    Image.new("RGB", (12000, 9000), (200, 30, 60)).save(tmp_path / "phone.jpg")
    read, size = decode(tmp_path / "phone.jpg", 1024)
    assert size == (12000, 9000)
    assert read.size == (1500, 1125)
    assert abs(np.asarray(read).astype(int).mean(axis=(0, 1)) - (200, 30, 60)).max() < 3
