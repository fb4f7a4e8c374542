"""Bounds of histograms, in seconds: the same in both services, so that their figures compare."""

# From a token of a small model to a clip behind a long queue; the p99 of either stays readable.
LATENCY = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 120.0,
)  # fmt: skip
# Between two pieces of text.
GAP = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
# Stages; the shortest take less than a millisecond.
STAGE = (0.0005, 0.001, 0.0025, 0.005, *LATENCY)
