"""Fields, error details and traces of gRPC calls, for the client and both services."""
