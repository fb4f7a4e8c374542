"""Drawing tokens from logits."""

import torch

from luvc_core.chat import SamplingParams
from luvc_core.engine.sampler import Sampler


def test_top_p_draws_from_the_nucleus() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()

    def drawn(top_p: float) -> set[int]:
        sampler = Sampler(SamplingParams(temperature=1.0, top_p=top_p, seed=0))
        return {sampler.sample(logits) for _ in range(300)}

    assert drawn(0.4) == {0}
    assert drawn(0.6) == {0, 1}
    assert drawn(0.9) == {0, 1, 2}
    assert drawn(1.0) == {0, 1, 2, 3}


def test_tiny_temperatures_are_greedy() -> None:
    sampler = Sampler(SamplingParams(temperature=1e-300, seed=0))
    assert [sampler.sample(torch.tensor([1.0, 5.0, 4.999])) for _ in range(20)] == [1] * 20


def test_answers_follow_the_temperature() -> None:
    logits = torch.tensor([2.0, 0.0]).log_softmax(0)
    sampler = Sampler(SamplingParams(temperature=2.0, seed=0))
    share = sum(sampler.sample(logits) == 0 for _ in range(2000)) / 2000
    assert abs(share - torch.tensor(1.0).sigmoid()) < 0.04
