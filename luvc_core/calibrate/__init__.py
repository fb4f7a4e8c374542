"""`luvc calibrate`: the compression that a user's own pictures and questions bear."""
