"""Train the `luvc-tiny` checkpoints: three families, from nothing, on two cores."""
