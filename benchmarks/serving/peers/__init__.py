"""The product against what a user would run instead, on this machine."""
