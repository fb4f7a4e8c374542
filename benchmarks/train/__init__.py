"""How the `luvc-tiny` checkpoints came to be: three families, from nothing, on two cores."""
