"""The clocks of a request: which moments count as gaps between texts."""

import time

import pytest

from luvc_core.runtime.request_timeline import RequestTimeline


def test_gaps_lie_between_pieces_that_have_text(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 11.0, 13.0, 16.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    timeline = RequestTimeline(arrival=9.0)
    timeline.call_decoder()
    assert timeline.add_piece(has_text=True) is None
    assert timeline.add_piece(has_text=True) == 2.0
    # The last message may hold the usage alone: nobody waited for its text.
    assert timeline.add_piece(has_text=False) is None
    assert (timeline.decoder_called, timeline.first_piece, timeline.last_piece) == (
        10.0,
        11.0,
        16.0,
    )
    assert timeline.elapsed == 11.0
