"""What our processes stand on: settings, event log, tables, health; knows nothing of the services above it."""
