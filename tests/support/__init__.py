"""Fixtures and helpers of the tests; what benchmarks use as well is in `benchmarks.common`."""
