"""The moments of one request from which its times are computed."""

import time
from dataclasses import dataclass, field


@dataclass
class RequestTimeline:
    """Moments of one request, in seconds on the monotonic clock; 0 until they have come.

    Attributes:
        arrival: when the request came.
        decoder_called: when the encoder service turned to the decoder. Unused in the decoder.
        first_piece: when the first piece of the answer came, with text or with the usage.
        last_piece: when the newest such piece came.
    """

    arrival: float = field(default_factory=time.monotonic)
    decoder_called: float = 0.0
    first_piece: float = 0.0
    last_piece: float = 0.0

    def call_decoder(self) -> None:
        """Note that the encoder service turns to the decoder now."""
        self.decoder_called = time.monotonic()

    def add_piece(self, has_text: bool) -> float | None:
        """Note that a piece of the answer came now.

        Returns the seconds since the piece before; None for the first one, and for one without
        text, which makes no reader wait.
        """
        now = time.monotonic()
        gap = now - self.last_piece if self.last_piece and has_text else None
        self.first_piece = self.first_piece or now
        self.last_piece = now
        return gap

    @property
    def elapsed(self) -> float:
        """Seconds since the arrival."""
        return time.monotonic() - self.arrival
