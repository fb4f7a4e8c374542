"""`luvc calibrate`: the search for the strongest compression that keeps a user's own answers."""
