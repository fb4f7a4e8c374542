"""The identity of the model that made visual tokens, and the check that an LLM can read them."""

from dataclasses import dataclass

from luvc_core.errors import IdentityMismatch

PROTOCOL_VERSION = 1


@dataclass(frozen=True)
class Identity:
    """The model that visual tokens depend on. Digests are full SHA-256, hex."""

    family: str
    revision: str
    vision_sha256: str
    projector_sha256: str
    preprocessing_sha256: str
    hidden_size: int
    protocol_version: int = PROTOCOL_VERSION

    def __str__(self) -> str:
        return (
            f"{self.family}/{self.revision} (projector {self.projector_sha256[:12]}, "
            f"hidden size {self.hidden_size}, protocol {self.protocol_version})"
        )


# The revision is for people; the vision weights and preprocessing are unknown to a decoder.
_MUST_AGREE = ("family", "projector_sha256", "hidden_size", "protocol_version")


def check_identity(made_by: Identity, served: Identity) -> None:
    """Raise IdentityMismatch unless tokens of `made_by` suit the language model of `served`."""
    differ = [f for f in _MUST_AGREE if getattr(made_by, f) != getattr(served, f)]
    if differ:
        raise IdentityMismatch(
            f"visual tokens were made by {made_by}, but this decoder serves {served}; "
            f"they differ in {', '.join(differ)}"
        )
