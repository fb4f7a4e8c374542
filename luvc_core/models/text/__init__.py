"""What the language halves of several families share: decoder layers, positions, tokenizer."""
