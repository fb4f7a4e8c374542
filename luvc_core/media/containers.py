"""The outermost structure of MP4 and WebM files, read without FFmpeg.

The demuxer is chosen here and passed to FFmpeg: by itself FFmpeg also tries playlists, which name
other files.
"""

_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_SEGMENT = b"\x18\x53\x80\x67"


def demuxer_for(data: bytes) -> str | None:
    """Return FFmpeg's name of the demuxer, or None for a file that is neither MP4 nor WebM."""
    if data[4:8] == b"ftyp" and data[8:12] not in _STILL_BRANDS:
        return "mov"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    return None


def missing_bytes(data: bytes) -> int:
    """Count the bytes that a file's own structure announces beyond its end.

    FFmpeg would take a truncated file for a shorter video.
    """
    if demuxer_for(data) == "mov":
        return _missing_of_boxes(data)
    return _missing_of_segment(data)


def _missing_of_boxes(data: bytes) -> int:
    """Count them for MP4: boxes in a row, each with its size and name."""
    start = 0
    while start + 8 <= len(data):
        size, header = int.from_bytes(data[start : start + 4]), 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16]), 16
        if size == 0:
            # The box reaches to the end of the file.
            return 0
        if size < header:
            # Not a box: players ignore what follows.
            return 0
        start += size
    return max(0, start - len(data))


def _missing_of_segment(data: bytes) -> int:
    """Count them for WebM: a header and one segment, of unknown size in live recordings."""
    header = _vint(data, 4)
    if header is None:
        return 0
    size, start = header
    start += size
    if data[start : start + 4] != _SEGMENT:
        return 0
    segment = _vint(data, start + 4)
    return 0 if segment is None else max(0, segment[1] + segment[0] - len(data))


def _vint(data: bytes, start: int) -> tuple[int, int] | None:
    """Read EBML's variable-length number: its value and where it ends; None if unknown or cut."""
    if start >= len(data) or data[start] == 0:
        return None
    length = 9 - data[start].bit_length()
    value = int.from_bytes(data[start : start + length]) & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else (value, start + length)
