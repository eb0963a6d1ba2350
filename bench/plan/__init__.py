"""From protocols to jobs: which, named by their content, shared, checked and priced before any runs."""

from bench.plan.planner import Cell, Plan, Planner

__all__ = ["Cell", "Plan", "Planner"]
