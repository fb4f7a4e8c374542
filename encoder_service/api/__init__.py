"""The calls of luvc.v1.EncoderService, from their checks to their usage."""
