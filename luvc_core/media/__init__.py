"""Images and videos, decoded from untrusted bytes to RGB frames within limits."""
