"""Benchmarks of one half of the model in this process: time, memory and operations."""
