"""One module for each model family, named by its `model_type`; none imports another."""
