"""The embedded checkpoints: one folder each, small models for demos and tests."""
