"""What becomes of requests when halves die, stores fail, queues fill and callers leave.

`make bench-chaos`, or `python -m benchmarks.chaos`, starts the real services on this machine, does
them harm under load and counts how every request ended. Each case is a function of the stage that
gives rows; `runs` names them all.
"""
