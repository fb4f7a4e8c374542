"""Merging, scoring and pruning as functions of tensors, without models or services."""
