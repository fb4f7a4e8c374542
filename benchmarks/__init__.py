"""Benchmarks, rendered tasks, and the recipe of the embedded checkpoint."""
