"""Packed linear layers: the same numbers as plain ones, to the bit, in any company."""

import pytest
import torch
from torch import nn

from luvc_core.engine.decode import row_count
from luvc_core.models.text.packed_linear import PackedLinear, pack, packed

needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 products on this CPU"
)
# (out, in): the wide ones are where one row alone goes another way.
SHAPES = [(24, 16), (384, 128), (8960, 1536), (1536, 8960), (100, 96)]


def layer(outs: int, ins: int, bias: bool = True, dtype: torch.dtype = torch.bfloat16) -> nn.Linear:
    torch.manual_seed(outs + ins)
    return nn.Linear(ins, outs, bias=bias).to(dtype).requires_grad_(False)


@needs_bf16
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_packed_equals_plain_to_the_bit(shape, bias):
    plain = layer(*shape, bias)
    ours = packed(plain)
    assert isinstance(ours, PackedLinear)
    for rows in (1, 2, 7, 64, 150):
        x = torch.randn(rows, shape[1]).bfloat16()
        assert torch.equal(ours(x), plain(x))
        assert torch.equal(ours(x[None]), plain(x[None]))


@needs_bf16
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_is_the_same_in_any_company(shape):
    ours = packed(layer(*shape))
    x = torch.randn(130, shape[1]).bfloat16()
    counts = {row_count(n, torch.device("cpu"), torch.bfloat16) for n in range(1, len(x))}
    alone = ours(x[: min(counts)])
    for count in counts:
        assert torch.equal(ours(x[:count])[: len(alone)], alone)


def test_other_numbers_stay_plain():
    plain = layer(24, 16, dtype=torch.float32)
    assert packed(plain) is plain


@needs_bf16
def test_pack_reaches_every_linear_layer():
    model = nn.Sequential(layer(16, 16), nn.Sequential(nn.SiLU(), layer(24, 16)), nn.LayerNorm(24))
    model = model.to(torch.bfloat16)
    x = torch.randn(5, 16).bfloat16()
    before = model(x)
    pack(model)
    assert not [part for part in model.modules() if type(part) is nn.Linear]
    assert torch.equal(model(x), before)
