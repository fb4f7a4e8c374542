"""What both services need and no tensor is part of: limits, flags, logs, threads, async tasks."""
