"""Count what becomes of requests when services die, stores fail, queues fill and callers leave.

`make bench-chaos`, or `python -m benchmarks.chaos`, starts the real services on this machine, harms
them under load and counts how every request ended. Each case is a function that takes the testbed
and returns rows; `cases` names them all.
"""
