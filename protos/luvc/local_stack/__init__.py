"""Both services as processes of this machine, and what processes need."""
