"""Pictures, good and bad."""

import io
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from luvc_core.errors import InvalidMedia, InvalidSettings
from luvc_core.media.images import MediaLimits, decode_image
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import VisionHalf
from tests.support.checkpoints import encoded, noise_image

FIELD = "messages[0].parts[1].media (cat.png)"
LIMITS = MediaLimits()
IMAGE = noise_image(64, 48)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    frames = [noise_image(64, 48, seed) for seed in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def huge_png() -> bytes:
    """Make a PNG whose header says 100,000 x 100,000 pixels before data of 64 x 48."""
    data = bytearray(encoded(IMAGE))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def huge_webp() -> bytes:
    """Make a WebP of 16,384 x 16,384 pixels around 64 x 48; Pillow would allocate it."""
    buffer = io.BytesIO()
    IMAGE.save(buffer, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    data = bytearray(buffer.getvalue())
    data[24:30] = (16_383).to_bytes(3, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_supported_types(kind: str) -> None:
    image = decode_image(encoded(IMAGE, kind), FIELD, LIMITS)
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert abs(np.asarray(image, float) - np.asarray(IMAGE, float)).mean() < 12


BAD = {
    "zero bytes": (b"", "0 bytes"),
    "text": (b"not a picture at all", "unsupported type .begins with 6e 6f 74 20"),
    "GIF": (encoded(IMAGE, "GIF"), "unsupported type .GIF"),
    "BMP": (encoded(IMAGE, "BMP"), "unsupported type .BMP"),
    "TIFF": (encoded(IMAGE, "TIFF"), "unsupported type .TIFF"),
    "PDF": (b"%PDF-1.7", "unsupported type .PDF"),
    "video": (b"\0\0\0 ftypisom", "unsupported type .MP4"),
    "SVG": (b"<svg></svg>", "unsupported type"),
    "RIFF but no WebP": (b"RIFF\0\0\0\0WAVEfmt ", "unsupported type"),
    "PNG signature only": (encoded(IMAGE)[:8], "header cannot be read"),
    "JPEG signature only": (encoded(IMAGE, "JPEG")[:4], "header cannot be read"),
    "WebP signature only": (encoded(IMAGE, "WEBP")[:12], "header cannot be read"),
    "truncated PNG": (encoded(IMAGE)[:-200], "truncated or damaged"),
    "truncated JPEG": (encoded(IMAGE, "JPEG")[:-200], "truncated or damaged"),
    "truncated WebP": (encoded(IMAGE, "WEBP")[:-200], "cannot be read|truncated or damaged"),
    "animated WebP": (animated("WEBP"), "animated, 3 frames"),
    "animated PNG": (animated("PNG"), "animated, 3 frames"),
    "PNG that claims 10 gigapixels": (huge_png(), "100000x100000 pixels; allowed: at most"),
    "WebP that claims 268 megapixels": (huge_webp(), "cannot be read.*pixels"),
    "thin": (encoded(noise_image(64, 48).resize((64, 3))), "64x3 pixels; allowed: sides of"),
    "long": (encoded(Image.new("RGB", (900, 4))), "900x4 pixels; allowed: sides that differ"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_named(name: str) -> None:
    data, message = BAD[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidMedia, match=message) as caught:
            decode_image(data, FIELD, LIMITS)
    assert caught.value.field == FIELD
    assert caught.value.allowed


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damage_anywhere_is_an_answer_or_a_typed_error(kind: str) -> None:
    data = encoded(IMAGE, kind)
    random = np.random.default_rng(1)
    for _ in range(150):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 4):
            broken[place] = random.integers(256)
        try:
            image = decode_image(bytes(broken), FIELD, MediaLimits(max_pixels=10**6))
        except InvalidMedia:
            continue
        assert image.mode == "RGB"


def test_pixel_limit_holds_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InvalidMedia, match="64x48 pixels; allowed: at most 3071 pixels"):
        decode_image(encoded(IMAGE), FIELD, MediaLimits(max_pixels=3071))


def test_byte_limit() -> None:
    data = encoded(IMAGE)
    decode_image(data, FIELD, MediaLimits(max_bytes=len(data)))
    with pytest.raises(InvalidMedia, match=f"{len(data)} bytes; allowed: at most {len(data) - 1}"):
        decode_image(data, FIELD, MediaLimits(max_bytes=len(data) - 1))


def test_count_limit() -> None:
    MediaLimits(max_items=2).check_count(2, 0)
    with pytest.raises(InvalidMedia, match="3 pictures and clips; allowed: at most 2"):
        MediaLimits(max_items=2).check_count(3, 0)
    with pytest.raises(InvalidMedia, match="5 clips; allowed: at most 4"):
        MediaLimits().check_count(5, 5)


@pytest.mark.parametrize("field", ["max_bytes", "max_pixels", "max_items", "min_side"])
def test_limits_are_checked(field: str) -> None:
    with pytest.raises(InvalidSettings, match=rf"media\.{field}: got 0"):
        MediaLimits(**{field: 0})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(saved(IMAGE, "PNG", exif=exif.tobytes()), FIELD, LIMITS)
    turns = [None, None, 0, 3, 1, 5, 4, 6, 2][orientation]
    expected = IMAGE if turns is None else IMAGE.transpose(Image.Transpose(turns))
    assert np.array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (48, 1))
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(grey).convert("RGB")
        image = image.quantize(64) if mode == "P" else image.convert(mode)
    data = saved(image, "JPEG" if mode == "CMYK" else "PNG")
    rgb = decode_image(data, FIELD, LIMITS)
    assert rgb.mode == "RGB"
    if mode != "1":
        assert abs(np.asarray(rgb, float) - grey[:, :, None]).mean() < 6


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
def test_transparent_places_become_white(kind: str) -> None:
    image = Image.new("RGBA", (20, 20), (10, 10, 10, 255))
    image.paste((10, 10, 10, 0), (0, 0, 10, 20))
    options = {}
    if kind == "P":
        image = Image.new("P", (20, 20), 0)
        image.putpalette([200, 0, 0, 10, 10, 10])
        image.paste(1, (10, 0, 20, 20))
        options = {"transparency": 0}
    else:
        image = image.convert(kind)
    rgb = decode_image(saved(image, "PNG", **options), FIELD, LIMITS)
    assert rgb.getpixel((2, 2)) == (255, 255, 255)
    assert rgb.getpixel((15, 2)) == (10, 10, 10)


def test_first_image_of_a_phone_jpeg() -> None:
    """Phones store previews behind the picture (MPO); that is no animation."""
    data = saved(IMAGE, "MPO", save_all=True, append_images=[noise_image(32, 24)])
    assert decode_image(data, FIELD, LIMITS).size == (64, 48)


def test_encoder_prepares_what_the_family_cuts(vision: VisionHalf) -> None:
    encoder = MediaEncoder(vision, LIMITS)
    patches = encoder.prepare(encoded(noise_image(112, 56)), FIELD)
    assert (patches.grid.rows, patches.grid.columns) == (4, 8)
    with pytest.raises(
        InvalidMedia, match=r"messages\[0\]\.parts\[1\]\.media \(cat\.png\): 0 bytes"
    ):
        encoder.prepare(b"", FIELD)


@pytest.mark.parametrize("size", [(4, 4), (4, 400), (399, 4), (5, 60), (1999, 21)])
def test_extreme_shapes_within_limits_can_be_encoded(
    size: tuple[int, int], vision: VisionHalf
) -> None:
    image = Image.new("RGB", size, "teal")
    patches = MediaEncoder(vision, LIMITS).prepare(encoded(image), FIELD)
    assert patches.pixels.shape[0] == patches.grid.token_count
