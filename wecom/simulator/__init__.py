"""A small WeCom for development, demonstration and tests; listens on loopback only.

``server.Simulator`` puts it together: a ``world.World`` with its true state, the API that shows it, pushes of every
change, switches for faults, and changes by hand over HTTP. It knows the platform's rules on its own and shares no code
with what consumes them, because it is the oracle that the tables are compared with.
"""
