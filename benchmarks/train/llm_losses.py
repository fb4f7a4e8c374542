"""Run the stock language model on packed questions; its loss and its accuracy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLTextModel, apply_rotary_pos_emb

from .attention_targets import EVENTS
from .packing import Pack
from .sample_views import NEWLINE, PADDING, View

AIMED_HEADS = 2
SINK = 2.0


class Forward(NamedTuple):
    """Hidden states, and log attention of some tokens: [layers, tokens, heads, length].

    Nothing is looked up further up, where pruning leaves few visual tokens. All but `hidden` feed
    training-only losses.

    Attributes:
        hidden: at the end.
        tapped: hidden states after a third of the layers.
        later: hidden states after half of the layers.
        looks: of the `asked` tokens in two layers above the first third, in the first two heads.
        late_looks: of the same in two layers above the half.
        traces: of the `told` tokens around the first third, in the last head.
    """

    hidden: torch.Tensor
    tapped: torch.Tensor
    later: torch.Tensor
    looks: torch.Tensor
    late_looks: torch.Tensor
    traces: torch.Tensor


def decoder_forward(
    decoder: Qwen2VLTextModel,
    x: torch.Tensor,
    positions: torch.Tensor,
    mask: torch.Tensor,
    asked: torch.Tensor,
    told: torch.Tensor,
) -> Forward:
    """Run the model and note what the losses need.

    Args:
        decoder: the model.
        x: [samples, length, hidden].
        positions: [3, samples, length].
        mask: [samples, 1, length, length], bool.
        asked: [samples, length], bool.
        told: [samples, length], bool.
    """
    looks, late_looks, traces, lower = [], [], [], []
    batch, length, _ = x.shape
    cos, sin = decoder.rotary_emb(x, positions)
    tap, half, stride = (len(decoder.layers) // part for part in (3, 2, 6))
    for number, layer in enumerate(decoder.layers):
        inner, attention = layer.input_layernorm(x), layer.self_attn
        query, key, value = (
            proj(inner).view(batch, length, -1, attention.head_dim).transpose(1, 2)
            for proj in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        heads = query.shape[1]
        if number in (tap, tap + stride):
            looks.append(_attention(query, key, mask, asked, slice(0, AIMED_HEADS)))
        if number in (half, 2 * tap - 1):
            late_looks.append(_attention(query, key, mask, asked, slice(0, AIMED_HEADS)))
        if number in (tap - stride, tap):
            traces.append(_attention(query, key, mask, told, slice(AIMED_HEADS, None)))
        mixed = F.scaled_dot_product_attention(
            query, key.expand(-1, heads, -1, -1), value.expand(-1, heads, -1, -1), attn_mask=mask
        )
        x = x + attention.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        if number + 1 in (tap, half):
            lower.append(x)
    return Forward(
        decoder.norm(x),
        lower[0],
        lower[1],
        torch.stack(looks),
        torch.stack(late_looks),
        torch.stack(traces),
    )


def _attention(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor, heads: slice
) -> torch.Tensor:
    """Return the log attention of some tokens: [tokens, heads, length]."""
    asking = query[:, heads].transpose(1, 2)[rows] * query.shape[-1] ** -0.5
    scores = torch.einsum("thd,thkd->thk", asking, key[rows.nonzero()[:, 0], heads])
    return scores.masked_fill(~mask.squeeze(1)[rows][:, None], -1e4).log_softmax(-1)


class Heads(nn.Module):
    """Training-only readouts a third of the way up; they are not exported.

    `place` tells a visual token's row, column and frame; `query` tells what an answer's token must
    look for; `event`, higher up, what became of an object since the first frame. The circuits for
    them form in minutes with these, and hardly at all from answers alone.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.place = nn.Linear(hidden, 3)
        self.query = nn.Linear(hidden, hidden)
        self.event = nn.Linear(hidden, len(EVENTS))
        nn.init.zeros_(self.event.weight)
        nn.init.eye_(self.query.weight)


class Losses:
    """Losses of one pack: the answers' cross-entropy and the heads' squared errors."""

    def __init__(
        self, decoder: Qwen2VLTextModel, heads: Heads, pack: Pack, views: Sequence[View],
        newline: torch.Tensor,
    ) -> None:  # fmt: skip
        """Run the model on a pack and compute the losses.

        Args:
            decoder: the model.
            heads: training-only.
            pack: the questions.
            views: of one task and family, so of one shape.
            newline: [hidden].
        """
        table = decoder.embed_tokens.weight
        features = torch.stack([view.features for view in views])
        visual = pack.cells >= 0
        sample = torch.arange(len(pack.ids))[:, None].expand_as(pack.ids)
        x = F.embedding(pack.ids, table)
        x = torch.where(visual[..., None], features[sample, pack.cells.clamp(min=0)], x)
        x = torch.where((pack.cells == NEWLINE)[..., None], newline, x)
        self.pack, self.asked = pack, pack.targets != PADDING
        told, origins, flags = _told(pack, views)
        out = decoder_forward(decoder, x, pack.positions, pack.mask(), self.asked, told)
        tapped = out.tapped
        self.logits = out.hidden[self.asked] @ table.T
        self.targets = pack.targets[self.asked]
        self.answer = F.cross_entropy(self.logits, self.targets)
        place = _places(pack.cells[visual], views[0])
        self.place = F.mse_loss(heads.place(tapped[visual]), place) / 0.083
        self.query = F.mse_loss(heads.query(tapped[self.asked]), pack.queries) / 0.09
        late = pack.late[:, None, None]
        self.look, self.tally = self._look(torch.where(late, out.late_looks, out.looks))
        self.trace = self.event = x.new_zeros(())
        if len(flags):
            self.trace = -out.traces.gather(-1, origins.expand(2, -1, 1, 1)).mean()
            said = heads.event(out.later[told])
            self.event = 4 * F.binary_cross_entropy_with_logits(said, flags)

    def _look(self, looks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how far attention misses the cells that answer, and how badly it counts them.

        looks: as from `decoder_forward`.
        """
        cells = self.pack.cells[self.asked.nonzero()[:, 0]]
        index = cells.clamp(min=0)[:, None].expand(-1, AIMED_HEADS, -1)
        aims = self.pack.aims.gather(2, index) & (cells >= 0)[:, None]
        aimed = looks.masked_fill(~aims, -1e4).logsumexp(-1)
        some = aims.any(-1) & ~self.pack.counted[:, None]
        found = -(aimed * some).sum() / (some.sum() * len(looks)).clamp(min=1)
        return found, self._tally(looks[:, self.pack.counted], aims[self.pack.counted])

    @staticmethod
    def _tally(looks: torch.Tensor, aims: torch.Tensor) -> torch.Tensor:
        """Compare attention to counted things with its target, 1 / (n + SINK) for each of n.

        The first token draws the rest: attention tells a number only if a fixed place competes with
        the things counted.
        """
        if not len(aims):
            return looks.new_zeros(())
        share = aims.float()
        share[..., 0] = SINK
        share = share / share.sum(-1, keepdim=True)
        return -(share * (looks - share.clamp(min=1e-9).log())).sum(-1).mean()

    def total(self, guidance: float = 1.0) -> torch.Tensor:
        """Return the training loss; `guidance` weighs the attention's and the query head's part."""
        hints = 0.5 * self.query + 0.5 * self.look + 1.5 * self.tally + 0.3 * self.trace
        hints = hints + 0.5 * self.event
        return self.answer + self.place + guidance * hints

    def hits(self, end_id: int) -> dict[str, tuple[int, int]]:
        """Return by kind: questions whose every answer token is right, and questions."""
        right = (self.logits.argmax(1) == self.targets).tolist()
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        kinds, good = iter(kind for row in self.pack.kinds for kind in row), True
        for hit, target in zip(right, self.targets.tolist(), strict=True):
            good = good and hit
            if target == end_id:
                count = counts[next(kinds)]
                count[0] += good
                count[1] += 1
                good = True
        return {kind: (right, asked) for kind, (right, asked) in counts.items()}


def _told(pack: Pack, views: Sequence[View]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find visual tokens of objects behind the first frame.

    Returns:
        Where they are [samples, length], bool; for each of them, where in the sequence the first
            frame shows it, or 0 [tokens, 1, 1]; what became of it since.
    """
    told = torch.zeros_like(pack.cells, dtype=torch.bool)
    origins, flags = [], []
    for row, view in enumerate(views):
        if view.events is None:
            continue
        place = {cell: i for i, cell in enumerate(pack.cells[row].tolist()) if cell >= 0}
        found = {}
        for cell, origin, flag in zip(*(part.tolist() for part in view.events), strict=True):
            if cell in place:
                found[place[cell]] = (place.get(origin, 0), flag)
        for at in sorted(found):
            told[row, at] = True
            origins.append(found[at][0])
            flags.append(found[at][1])
    return told, torch.tensor(origins, dtype=torch.long)[:, None, None], torch.tensor(flags)


def _places(cells: torch.Tensor, view: View) -> torch.Tensor:
    """Return row, column and frame of visual tokens, each from -0.5 to 0.5: [tokens, 3]."""
    frames, count, _ = view.hot.shape
    rows, columns = view.grid
    frame, own = cells // count, cells % count
    return torch.stack([own // columns / rows, own % columns / columns, frame / frames], 1) - 0.5
