"""A small WeCom for development, demonstration and tests; listens on loopback only."""
