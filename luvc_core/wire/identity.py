"""The identity of a model, as it travels with its visual tokens."""

from dataclasses import asdict

from luvc.v1 import tokens_pb2

from luvc_core.visual_tokens.identity import Identity


def write_identity(identity: Identity) -> tokens_pb2.ModelIdentity:
    """Write the identity of a model."""
    return tokens_pb2.ModelIdentity(**asdict(identity))


def read_identity(message: tokens_pb2.ModelIdentity) -> Identity:
    """Read the identity of a model; `check_identity` compares it with another."""
    return Identity(**{f.name: getattr(message, f.name) for f in message.DESCRIPTOR.fields})
