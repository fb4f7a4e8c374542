"""Measure how visual tokens travel: by which way, what the store saves, what eight bits keep.

`make bench-store`, or `python -m benchmarks.serving.token_transfer`; writes `results/store.json`
and `results/store.png`. Modules: `inline_threshold` (in the message, fetched from the encoder, or
from Redis), `repeated_images` (traffic with and without the store), `int8_videos` (answers of
tokens sent as int8).
"""
