"""PACT (arXiv 2504.08966): prune what is unimportant, then merge what is alike, before one layer.

Importance: attention of the mean query of all tokens up to the last visual one, before rotation,
mean over heads, times the L2 norm of the hidden state; the best share stays. Then density-peak
clustering on the cosine distance of rotated keys: density sum exp(-(d / 2)^2), delta the distance
to the nearest denser token. Tokens with the largest delta are centres; pruned ones within 1.5 times
the cutoff of a centre rejoin it; a centre becomes the mean of its cluster, at its own position, and
attention to it is raised by the log of the cluster's size.

Published for layer 4 of 28, share 0.55 and cutoff 0.21, which leaves as many centres as it happens
to. To meet a target the cutoff is, for each question, the delta of the last centre that the target
allows; the share is 0.55, or the square root of the target's share where that is more.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from benchmarks.fidelity.attention import (
    biased_layer,
    layers_by,
    probabilities,
    projected,
    rotated,
)
from benchmarks.fidelity.matching import Stages, one_shot, scaled
from benchmarks.fidelity.methods.base import Method, StagedPruner, rows_of
from benchmarks.fidelity.question import Question
from luvc_core.compression.algorithms.frequency_scores import top_indices
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.base import Rotary

_SHARE = 0.55
_REJOIN = 1.5


class Pact(Method):
    """Prune what is unimportant, then merge what is alike."""

    name = "pact"

    def pruner(self, question: Question, target: float) -> StagedPruner:
        wanted = scaled(4, 28, question.layer_count)
        return _Pruner(question, one_shot(question.layer_count, wanted, least=0, target=target))


class _Pruner(StagedPruner):
    def __init__(self, question: Question, stages: Stages) -> None:
        super().__init__(question, stages)
        self._first = stages.starts[0]
        # [rows] after pruning: log of how many tokens each stands for.
        self._bias: Tensor | None = None

    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        rows = rows_of(survivors)
        queries, keys = projected(self.language, layer, hidden)
        scores = importance(queries, keys, hidden, rows)
        share = max(_SHARE, math.sqrt(count / len(rows)))
        important = top_indices(scores, max(count, math.ceil(share * len(rows))))
        centres, cluster = clusters(rotated(keys, rotary)[rows].flatten(1), important, count)
        members = torch.nn.functional.one_hot(cluster + 1, count + 1)[:, 1:].T.float()
        sizes = members.sum(dim=1)
        means = members @ hidden[rows].float() / sizes.unsqueeze(1)
        bias = hidden.new_zeros(len(hidden), dtype=torch.float32)
        bias[rows[centres]] = sizes.log()
        gone = torch.zeros(len(hidden), dtype=torch.bool, device=hidden.device)
        gone[rows] = True
        gone[rows[centres]] = False
        self._bias = bias[~gone]
        return PruningDecision(centres, hidden=means.to(hidden.dtype))

    def hooks(self) -> AbstractContextManager[object]:
        plain = self.language.layer

        def layer(index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
            if self._bias is None or index < self._first:
                return plain(index, hidden, rotary, cache)
            return biased_layer(self.language, index, hidden, rotary, cache, self._bias)

        return layers_by(self.language, layer)


def importance(queries: Tensor, keys: Tensor, hidden: Tensor, rows: Tensor) -> Tensor:
    """Return the importance of the visual tokens at `rows`: float32 [tokens].

    Args:
        queries: [length, heads, head size], not rotated.
        keys: [length, key heads, head size], not rotated.
        hidden: [length, hidden].
        rows: int64, where visual tokens stand.
    """
    end = int(rows.max()) + 1
    attention = probabilities(queries[:end].mean(dim=0), keys[:end])
    norms: Tensor = hidden[rows].float().norm(dim=1)
    return attention[rows] * norms


def clusters(keys: Tensor, survivors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cluster tokens by density peaks.

    Args:
        keys: [tokens, dim], of all tokens.
        survivors: int64, ascending, which of them are clustered.
        count: of clusters.

    Returns:
        The centres, int64, ascending, and for each token the number of its cluster in their order,
            -1 for what is lost.
    """
    unit = torch.nn.functional.normalize(keys.float(), dim=1)
    distance = 1 - unit[survivors] @ unit[survivors].T
    density = torch.exp(-((distance / 2) ** 2)).sum(dim=1)
    # A strict order, so that of equals the earlier is the denser.
    rank = density.argsort(descending=True, stable=True).argsort()
    denser = rank.unsqueeze(0) < rank.unsqueeze(1)
    delta = distance.masked_fill(~denser, math.inf).min(dim=1).values
    peaks = top_indices(delta, count)
    centres = survivors[peaks]
    # The delta of the densest token is infinite; by convention it is the largest distance.
    cutoff = min(float(delta[peaks].min()), float(distance.max()))
    away, cluster = (1 - unit @ unit[centres].T).min(dim=1)
    pruned = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    pruned[survivors] = False
    cluster = cluster.masked_fill(pruned & (away > _REJOIN * cutoff), -1)
    # Equal keys elsewhere must not take a centre out of its own cluster.
    cluster[centres] = torch.arange(count, device=keys.device)
    return centres, cluster
