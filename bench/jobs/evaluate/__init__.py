"""Evaluate: predict every test case."""
