"""What releases of transformers rename, and that the use of a deprecated name fails a test."""

import inspect
import warnings
from typing import Any

import pytest
from torch import Tensor, nn
from transformers.utils import logging
from transformers.utils.deprecation import deprecate_kwarg

from luvc_core.models.base import LanguageHalf
from luvc_core.models.text.decoder import TextHalf, _cache_argument
from tests.support.deprecations import SEEN
from tests.support.families import ALL_FAMILIES

pytestmark = pytest.mark.transformers


class Before(nn.Module):
    def forward(self, hidden: Tensor, past_key_values: Any = None, **options: Any) -> Tensor:
        return hidden


class Since(nn.Module):
    @deprecate_kwarg("past_key_values", "99.0", new_name="cache")
    def forward(self, hidden: Tensor, cache: Any = None, **options: Any) -> Tensor:
        return hidden


def test_the_cache_is_given_by_the_name_that_the_layer_knows() -> None:
    assert _cache_argument(Before()) == "past_key_values"
    assert _cache_argument(Since()) == "cache"


@ALL_FAMILIES
def test_every_layer_knows_that_name(language: LanguageHalf) -> None:
    # One that it does not know would vanish among its other options, and the cache with it.
    assert isinstance(language, TextHalf)
    for layer in language._text.layers:
        assert language._cache_argument in inspect.signature(layer.forward).parameters


def test_a_deprecated_argument_fails_a_test() -> None:
    with pytest.raises(FutureWarning, match="past_key_values"):
        Since()(None, past_key_values=None)


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])
def test_warnings_of_deprecation_fail_a_test(category: type[Warning]) -> None:
    with pytest.raises(category):
        warnings.warn("old", category, stacklevel=1)


def test_logged_deprecations_fail_a_test() -> None:
    logger = logging.get_logger("transformers.models.some_family")
    logger.warning("The argument `old` is deprecated.")
    logger.warning("Something else.")
    assert SEEN.take() == ["The argument `old` is deprecated."]
