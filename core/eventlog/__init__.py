"""Event log: an embedded one here, a Kafka one beside it, one interface for both."""
