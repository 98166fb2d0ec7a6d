"""What aiokafka says in its own log, summarised.

It writes a line for every failed connect and heartbeat, hundreds while a broker is away, and at DEBUG it prints keys
and values of records. ``KafkaLog`` says itself, once, when brokers go away and come back. So of its lines only those
with an exception are let through (something that it did not expect), each at most once a minute; the rest is counted.
"""

from __future__ import annotations

import logging
import time

_EVERY = 60.0


class Chatter(logging.Handler):
    """Stands at the top of aiokafka's loggers."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept_back = 0
        """Lines that were not let through, since the process started."""
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Let it through or count it."""
        now = time.monotonic()
        if record.exc_info and now - self._told.get(str(record.msg), -_EVERY) >= _EVERY:
            self._told[str(record.msg)] = now
            logging.getLogger().handle(record)
        else:
            self.kept_back += 1


def quieten() -> Chatter:
    """Put the summary in place; safe to call again."""
    top = logging.getLogger("aiokafka")
    # Also below it: a level that somebody set for everything would bring records into the log.
    for name in [name for name in logging.Logger.manager.loggerDict if name.startswith("aiokafka.")]:
        logging.getLogger(name).setLevel(logging.NOTSET)
    top.setLevel(logging.WARNING)
    top.propagate = False
    for handler in top.handlers:
        if isinstance(handler, Chatter):
            return handler
    chatter = Chatter()
    top.addHandler(chatter)
    return chatter
