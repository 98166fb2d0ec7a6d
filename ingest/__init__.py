"""Takes callbacks in: authenticates, stores durably, answers."""
