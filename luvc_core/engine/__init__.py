"""Answers of a language half: requests, prefill with pruning, decode steps, batching."""
