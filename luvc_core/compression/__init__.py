"""Compression of visual tokens by merging and pruning: settings, profiles, algorithms."""
