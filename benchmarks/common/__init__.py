"""Helpers that several groups of benchmarks use, and the tests."""
