"""Helpers of both services that know no tensors: limits, flags, logs, threads, async tasks."""
