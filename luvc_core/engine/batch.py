"""One step of several answers at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from luvc_core.engine.decode import decode_step
from luvc_core.engine.generation import Generation


@torch.inference_mode()
def decode_together(sessions: Sequence[Generation]) -> Tensor:
    """Logits for the next token of each answer, float32 [sessions, vocabulary]. None of them may be
    in its prefill still.

    What one gets does not depend on the others: see `row_count` and `attend_each`.
    """
    return decode_step(
        sessions[0].language,
        [session.last_token for session in sessions],
        torch.stack([session.next_position for session in sessions]),
        [session.caches for session in sessions],
    )
