"""The decoder service: visual tokens and text to answers, as replicas of Ray Serve."""
