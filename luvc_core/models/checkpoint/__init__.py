"""Checkpoints: finding one, reading its settings and tensors, loading its weights."""
