"""Encode the AV1 videos that tests read: `python -m tests.support.av1_files`.

In a program of its own, which then ends: as root, libsvtav1 leaves the process that calls it in the
realtime class SCHED_FIFO, in which it takes the CPUs from all others.
"""

from tests.support.video_files import AV1_VIDEOS, FRAMES, encode_video


def main() -> None:
    """Encode FRAMES anew, once for each container."""
    for path in AV1_VIDEOS.values():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_video(FRAMES, path.suffix.removeprefix("."), "libsvtav1"))
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
