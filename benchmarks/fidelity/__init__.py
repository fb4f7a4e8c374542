"""The fidelity lab: what compression costs in answers, by our methods and by those of others."""
