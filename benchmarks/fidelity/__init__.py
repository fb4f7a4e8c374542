"""The fidelity lab: what compression costs in answers, ours and that of others."""
