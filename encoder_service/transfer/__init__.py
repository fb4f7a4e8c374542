"""Visual tokens on their way to the decoder, and its answer on the way back."""
