"""Every metric of the product, with its help text, in one place.

Labels carry ids, codes and the platform's own names, never personal data, and none grows without bound: what a
sender may choose freely (event names) is counted under ``other`` once there are too many.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

# Answers are due in 5 s (document 90930); most take milliseconds.
_CALLBACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_APPEND_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_API_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_MOST_EVENT_NAMES = 100
_LONGEST_NAME = 64


class Metrics:
    """The metrics of one process, on a registry of their own so that two processes' worth can live in one test."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """``registry`` defaults to a new one."""
        self.registry = registry if registry is not None else CollectorRegistry()
        self._ingest()
        self._log()
        self._sync()
        self._api()
        self._sidebar()
        self._process()
        self._event_names: set[tuple[str, str]] = set()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)

    def count_event(self, event: str, change: str, outcome: str, amount: int = 1) -> None:
        """Count applied events; names beyond the first hundred pairs, or odd ones, count as ``other``."""
        names = (event, change)
        if names not in self._event_names:
            odd = any(len(name) > _LONGEST_NAME or not name.isprintable() for name in names)
            if odd or len(self._event_names) >= _MOST_EVENT_NAMES:
                names = ("other", "other")
            else:
                self._event_names.add(names)
        self.events_applied_total.labels(*names, outcome).inc(amount)

    def api_called(self, corpid: str, api: str, outcome: str, seconds: float) -> None:
        """One call to the platform; ``outcome`` is ok or the error's class."""
        self.api_calls_total.labels(corpid, api, outcome).inc()
        self.api_seconds.labels(api).observe(seconds)

    def token_asked(self, corpid: str, kind: str, outcome: str) -> None:
        """One refresh of a token or ticket: ok, refused or failed."""
        self.tokens_refreshed_total.labels(corpid, kind, outcome).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"wecom_crm_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"wecom_crm_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"wecom_crm_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _ingest(self) -> None:
        self.callbacks_total = self._counter(
            "callbacks_total", "Requests to the callback endpoint by what became of them", "outcome"
        )
        self.callback_seconds = self._histogram(
            "callback_seconds", "From the request's head to the answer of a delivery", _CALLBACK_BUCKETS
        )
        self.callbacks_in_hand = self._gauge("callbacks_in_hand", "Callback requests being answered now")

    def _log(self) -> None:
        self.log_appended_total = self._counter("log_appended_total", "Deliveries made durable in the event log")
        self.log_append_seconds = self._histogram(
            "log_append_seconds", "Time until an append was durable, waiting for its group included", _APPEND_BUCKETS
        )
        self.log_bytes = self._gauge("log_bytes", "Size of the event log on disk")
        self.log_lag = self._gauge(
            "log_lag",
            "Records not yet applied (sync) or published (relay)",
            "group",
            "partition",
        )
        self.log_oldest_seconds = self._gauge(
            "log_oldest_seconds", "Age of the oldest record that is not applied yet", "group"
        )
        self.log_damaged_total = self._counter("log_damaged_total", "Records whose bytes did not survive, set aside")
        self.log_gaps_total = self._counter("log_gaps_total", "Stretches of the log lost before they were applied")
        self.relayed_total = self._counter("relayed_total", "Deliveries published to Kafka, or parked", "outcome")
        self.producers_replaced_total = self._counter("producers_replaced_total", "Kafka producers that got stuck")

    def _sync(self) -> None:
        self.events_applied_total = self._counter(
            "events_applied_total", "Events applied to the database", "event", "change", "outcome"
        )
        self.apply_seconds = self._histogram("apply_seconds", "One batch of events, transaction included", _API_BUCKETS)
        self.dead_letters_total = self._counter("dead_letters_total", "Records set aside as unusable", "reason")
        self.pending_reads = self._gauge("pending_reads", "Objects waiting to be read from the platform", "corpid")
        self.pending_oldest_seconds = self._gauge(
            "pending_oldest_seconds", "How long the most overdue object has been due", "corpid"
        )
        self.refresh_total = self._counter("refresh_total", "Objects read from the platform", "kind", "outcome")
        self.corp_paused = self._gauge(
            "corp_paused", "1 while a corp waits for a human, with the platform's code", "corpid", "code"
        )

    def _api(self) -> None:
        self.api_calls_total = self._counter(
            "api_calls_total",
            "Calls to the platform's API by outcome (ok or the error's class)",
            "corpid",
            "api",
            "outcome",
        )
        self.api_seconds = self._histogram("api_seconds", "Duration of one API call", _API_BUCKETS, "api")
        self.tokens_refreshed_total = self._counter(
            "tokens_refreshed_total", "Tokens and tickets asked for", "corpid", "kind", "outcome"
        )

    def _sidebar(self) -> None:
        self.sidebar_requests_total = self._counter(
            "sidebar_requests_total", "Requests to the sidebar by route and HTTP status", "route", "status"
        )
        self.sidebar_seconds = self._histogram(
            "sidebar_seconds", "Duration of one request to the sidebar", _CALLBACK_BUCKETS, "route"
        )

    def _process(self) -> None:
        self.component_restarts_total = self._counter(
            "component_restarts_total", "Times that a failing part was started again", "component"
        )
        self.info = self._gauge("info", "Always 1; the label tells the version", "version")
