"""Stages and token counts of an answer, for its span."""

from luvc.wire.traces import Span

from luvc_core.engine.generation import Generation
from luvc_core.engine.requests import Result


def note_stages(span: Span, generation: Generation, result: Result, arrival: float) -> None:
    """Note the stages of an answer, one after the other, and its token counts.

    Args:
        span: of the request.
        generation: knows when its prefill began.
        result: the times of its stages, and its counts.
        arrival: when the request came, in seconds on the monotonic clock.
    """
    began, prefilled = generation.began_at, generation.began_at + result.prefill_seconds
    span.stage("prefill_queue", arrival, began - arrival)
    span.stage("prefill", began, result.prefill_seconds)
    span.stage("decode", prefilled, result.decode_seconds)
    span.set_attributes(
        luvc__prompt_tokens=result.prompt_token_count,
        luvc__completion_tokens=result.completion_token_count,
        luvc__layer_averaged_tokens=result.layer_averaged_visual_token_count,
    )
