"""What an answer came to, for its span."""

from luvc.wire.traces import Span

from luvc_core.engine.request_processor import Generation, Result


def tell(span: Span, session: Generation, result: Result, arrival: float) -> None:
    """Its stages, one after the other, and its tokens. arrival: on the monotonic clock."""
    began, prefilled = session.began_at, session.began_at + result.prefill_seconds
    span.stage("prefill_queue", arrival, began - arrival)
    span.stage("prefill", began, result.prefill_seconds)
    span.stage("decode", prefilled, result.decode_seconds)
    span.note(
        luvc__prompt_tokens=result.prompt_token_count,
        luvc__completion_tokens=result.completion_token_count,
        luvc__layer_averaged_tokens=result.layer_averaged_visual_token_count,
    )
