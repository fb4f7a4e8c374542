"""Run the processes of compose.yaml on this machine, without Docker: `make stack`."""
