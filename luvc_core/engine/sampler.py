"""Sampling of the next token."""

import torch
from torch import Tensor

from luvc_core.chat import SamplingParams


class Sampler:
    """Samples the tokens of one request.

    Its random numbers are its own, so that an answer does not depend on what else is served.
    """

    def __init__(self, sampling: SamplingParams) -> None:
        self._temperature = sampling.temperature
        self._top_p = sampling.top_p
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def sample(self, logits: Tensor) -> int:
        """Sample one token. Equal seeds and logits give equal tokens.

        logits: float32 [vocabulary], on any device.
        """
        if self._temperature == 0:
            return int(logits.argmax())
        # Only differences count: relative to the highest logit, a tiny temperature cannot overflow.
        logits = (logits.cpu().double() - logits.max().item()) / self._temperature
        probabilities, ids = logits.softmax(0).sort(descending=True)
        before = probabilities.cumsum(0) - probabilities
        nucleus = probabilities.masked_fill(before >= self._top_p, 0)
        return int(ids[torch.multinomial(nucleus, 1, generator=self._generator)])
