"""Check everything in deploy/, without a network, a cluster or Docker: `make deploy-check`."""
