"""Latency: how long one network takes for one crop."""
