"""Compare the product with what a user would run instead, on this machine."""
