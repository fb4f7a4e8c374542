"""Parts shared by language halves: decoder layers, positions, tokenizer."""
