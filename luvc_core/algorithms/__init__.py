"""Compression as pure functions of tensors. Imports torch only."""
