"""From protocols to jobs: which, named by their content, shared, checked and priced before any runs."""

from bench.plan.dag import Cell, Plan
from bench.plan.planner import Planner

__all__ = ["Cell", "Plan", "Planner"]
