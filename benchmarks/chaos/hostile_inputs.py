"""Hostile files, settings and headers: real ones with parts changed, and bombs.

All are hypothesis strategies, so that tests shrink what fails and the benchmark draws thousands.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from benchmarks.common.noise_images import encoded, noise_image
from benchmarks.common.video_files import VIDEO_FORMATS, animation, encode_video, moving_square

_FRAMES = moving_square(4, 64, 48)
# What counts, sizes and offsets are set to.
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file with the right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, pixels: bytes = b"") -> bytes:
    """Make a PNG file whose header says what it likes.

    Args:
        width: pixels, as the header claims.
        height: pixels, as the header claims.
        more: chunks between the header and the pixels.
        pixels: the raw rows, compressed here; 1 MiB of zeros by default.

    Returns:
        The bytes of the file.
    """
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(pixels or bytes(1 << 20))
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return head + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def files() -> dict[str, bytes]:
    """Make one small whole file of each kind that is taken."""
    still = noise_image(64, 48, 5)
    kinds = {kind: encoded(still, kind) for kind in ("PNG", "JPEG", "WEBP")}
    kinds |= {f"moving {kind}": animation(_FRAMES, kind) for kind in ("GIF", "PNG", "WEBP")}
    names = ("h264 mp4", "mpeg4 mp4", "vp9 webm", "h264 mov")
    return kinds | {name: encode_video(_FRAMES, *VIDEO_FORMATS[name]) for name in names}


def bombs() -> dict[str, bytes]:
    """Make small files that would fill memory or time in a decoder that trusts them."""
    long = zlib.compress(bytes(64 << 20), 9)
    exif = b"MM\0*\0\0\0\x08" + b"\xff\xff" + bytes(12 * 64)
    jpeg = bytearray(encoded(noise_image(64, 48, 5), "JPEG"))
    size = jpeg.index(b"\xff\xc0") + 5
    jpeg[size : size + 4] = b"\xff\xff\xff\xff"
    gif = bytearray(animation(_FRAMES))
    gif[6:10] = b"\xff\xff\xff\xff"
    return {
        "pixels": png(30_000, 30_000),
        "no pixels": png(0, 0),
        "one line": png(1, 0x7FFFFFFF),
        "pixels at the limit": png(7_000, 7_000, pixels=b"\0"),
        "text": png(64, 48, chunk(b"zTXt", b"a\0\0" + long)),
        "profile": png(64, 48, chunk(b"iCCP", b"a\0\0" + long)),
        "many texts": png(64, 48, chunk(b"tEXt", b"a\0b" * 100) * 2000),
        "exif": png(64, 48, chunk(b"eXIf", exif)),
        "many frames": png(64, 48, chunk(b"acTL", struct.pack(">II", 0x7FFFFFFF, 0))),
        "absurd frames": png(64, 48, chunk(b"acTL", struct.pack(">II", 0xFFFFFFFF, 0))),
        "large jpeg": bytes(jpeg),
        "large gif": bytes(gif),
        "boxes in boxes": b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + _boxes(4000),
        "endless webm": b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 64,
    }


def _boxes(depth: int) -> bytes:
    return b"".join((8 * (depth - i)).to_bytes(4) + b"moov" for i in range(depth))


@st.composite
def changed(draw: Callable[..., Any], whole: Sequence[bytes]) -> bytes:
    """Draw one of these byte strings with some of its bytes changed."""
    data = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("flip", "number", "cut", "insert", "repeat", "drop"))):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "number":
                width = draw(st.sampled_from((1, 2, 4, 8)))
                number = draw(st.sampled_from(_NUMBERS)) % (1 << 8 * width)
                order = draw(st.sampled_from(("big", "little")))
                data[at : at + width] = number.to_bytes(width, order)
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(max_size=32))
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case "drop":
                del data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


def with_right_checksums(data: bytes) -> bytes:
    """Give the chunks of a PNG right checksums again, so that what is in them is read."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        if at + 12 + length > len(data):
            break
        out += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return bytes(out + data[at:])


def media() -> st.SearchStrategy[bytes]:
    """Draw images, videos, bombs, and bytes that are no file."""
    kinds = files()
    stills = [data for name, data in kinds.items() if "PNG" in name]
    return st.one_of(
        changed(list(kinds.values())),
        changed(stills).map(with_right_checksums),
        st.sampled_from(list(bombs().values())),
        st.binary(max_size=200),
    )


_NAMES = st.sampled_from(
    ["oim", "spu", "ramp", "keep", "shares", "start", "end", "first_keep", "score", "cutoff",
     "keep_rows", "keep_columns", "blocks", "llm_position", "axis", "sampling", "shape", "", "é"]
)  # fmt: skip
_VALUES = st.one_of(
    st.floats(), st.integers(-(2**70), 2**70), st.booleans(), st.text(max_size=8),
    st.sampled_from(["high_pass", "low_pass", "linear", "source", "MERGE_METRIC_", "nan"]),
    st.none(),
)  # fmt: skip


def settings() -> st.SearchStrategy[Any]:
    """Draw compression settings as a caller may write them: fields that exist, with any values."""
    return st.recursive(
        _VALUES,
        lambda inner: st.one_of(
            st.dictionaries(_NAMES, inner, max_size=5), st.lists(inner, max_size=5)
        ),
        max_leaves=12,
    )


def headers() -> st.SearchStrategy[list[tuple[str, str | bytes]]]:
    """Draw metadata of a call: names that the services read, with any values."""
    names = st.sampled_from(["authorization", "x-api-key", "grpc-status-details-bin", "x"])
    values = st.one_of(
        st.text(max_size=40), st.binary(max_size=40), st.text(max_size=20).map("Bearer ".__add__)
    )
    return st.lists(st.tuples(names, values), max_size=4)
