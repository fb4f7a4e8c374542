"""The model side: compression, both halves of a checkpoint, the engine. Knows no network."""
