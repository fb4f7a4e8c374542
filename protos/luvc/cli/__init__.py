"""The `luvc` command."""
