"""Protobuf messages to dataclasses and back: the writer and the reader of each, side by side."""
