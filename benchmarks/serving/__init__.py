"""Benchmarks of both services as processes, over gRPC, and the demo."""
