"""Bucket bounds of latency histograms, in seconds, shared by both services for comparison."""

# From one token of a small model to a video behind a long queue, with a usable p99 for both.
LATENCY = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 120.0,
)  # fmt: skip
# Time between two pieces of streamed text.
GAP = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
# Time of one stage of a request; the shortest stages take less than a millisecond.
STAGE = (0.0005, 0.001, 0.0025, 0.005, *LATENCY)
