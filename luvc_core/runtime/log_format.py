"""Log format of both services: text for people, or one JSON object a line for machines."""

import json
import logging
import uuid

LOG_FORMATS = ("text", "json")


class JsonLineFormatter(logging.Formatter):
    """Formats a record as a JSON object: time, level, logger, message, request_id, exception.

    The time is in seconds since 1970; the last two are there where a record has them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        fields = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            fields["request_id"] = request_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def set_up(level: str, form: str, text: str) -> None:
    """Log to stderr; for one call per process.

    Args:
        level: name of the lowest level that is logged, in any case.
        form: "text" or "json".
        text: the line's format string where `form` is "text".
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLineFormatter() if form == "json" else logging.Formatter(text))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def log_extra(request_id: str) -> dict[str, str]:
    """Return the `extra` argument of a log call: the request that the record is about."""
    return {"request_id": request_id}


def request_id_of(given: str) -> str:
    """Return the id that a caller gave, fit for a log line, or a new one where it gave none.

    At most 100 characters of it stay, without those that could start another line of the log.
    """
    return "".join(c for c in given[:100] if c.isprintable()) or uuid.uuid4().hex


def log_unexpected(log: logging.Logger, request_id: str, error: BaseException) -> None:
    """Log an unexpected error with its traceback; the caller sees only the request id.

    Args:
        log: the logger of the service.
        request_id: what this record can be found by.
        error: what was raised.
    """
    log.error(
        "request %s failed unexpectedly", request_id, exc_info=error, extra=log_extra(request_id)
    )
