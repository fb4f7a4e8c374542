"""The outermost structure of MP4 and WebM files, read without FFmpeg.

FFmpeg is told which demuxer to use: left to guess, it also tries playlists, which name other files.
"""

_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_SEGMENT = b"\x18\x53\x80\x67"


def demuxer_for(data: bytes) -> str | None:
    """FFmpeg's name of the demuxer, or None where the file is no MP4 and no WebM."""
    if data[4:8] == b"ftyp" and data[8:12] not in _STILL_BRANDS:
        return "mov"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    return None


def missing_bytes(data: bytes) -> int:
    """How many bytes the file says it has beyond those that are there.

    FFmpeg takes a cut file for a short one.
    """
    if demuxer_for(data) == "mov":
        return _missing_of_boxes(data)
    return _missing_of_segment(data)


def _missing_of_boxes(data: bytes) -> int:
    """MP4: boxes in a row, each with its size and name."""
    start = 0
    while start + 8 <= len(data):
        size, header = int.from_bytes(data[start : start + 4]), 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16]), 16
        if size == 0:
            # To the end of the file.
            return 0
        if size < header:
            # No box: players ignore what follows.
            return 0
        start += size
    return max(0, start - len(data))


def _missing_of_segment(data: bytes) -> int:
    """WebM: a header, then one segment, whose size is unknown in live recordings."""
    header = _vint(data, 4)
    if header is None:
        return 0
    size, start = header
    start += size
    if data[start : start + 4] != _SEGMENT:
        return 0
    segment = _vint(data, start + 4)
    return 0 if segment is None else max(0, segment[1] + segment[0] - len(data))


def _vint(data: bytes, at: int) -> tuple[int, int] | None:
    """EBML's variable-length number and where it ends; None if unknown or cut."""
    if at >= len(data) or data[at] == 0:
        return None
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length]) & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else (value, at + length)
