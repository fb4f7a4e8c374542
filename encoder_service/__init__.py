"""The encoder service: images and videos to visual tokens, over gRPC."""
