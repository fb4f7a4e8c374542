"""Let each half scale with its own work, under load, while the other stays as it is.

`make bench-scale`, or `python -m benchmarks.serving.autoscaling`; writes `results/scale.json`.
"""
