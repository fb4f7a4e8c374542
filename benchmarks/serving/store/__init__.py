"""What the token plane costs and gains: which way tokens travel best, what the store saves, what
eight bits a number keep.

`make bench-store`, or `python -m benchmarks.serving.store`; writes `results/store.json` and
`store.png`.
"""
