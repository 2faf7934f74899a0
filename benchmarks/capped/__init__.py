"""Streams under a cap on the slots: which rule makes room for a new span, `python -m benchmarks.capped`."""
