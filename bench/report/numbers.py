"""Scores and differences in print. They are rounded here alone, and once, from what was measured."""

from __future__ import annotations

DASH, MINUS, TIMES = "\N{EM DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"

NOUGHT = 1e-9  # less than this is an error of arithmetic


def number(value: float, unit: str) -> str:
    """Return two decimals, shares of one in percent."""
    text = f"{100 * value if unit == '1' else value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", MINUS)


def difference(value: float, unit: str) -> str:
    """Return a difference in print, shares of one in percent points: rounded here alone.

    What rounds to 0 keeps its sign, because it tells whether an interval holds 0.
    """
    value = 100 * value if unit == "1" else value
    return f"{value if abs(value) > NOUGHT else 0.0:+.2f}".replace("-", MINUS)


def p_value(p: float) -> str:
    """Return a p with three decimals below 0.1; one below 0.05 is never printed as 0.050."""
    if p < 0.001:
        return "< 0.001"
    text = f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return f"{int(1e4 * p) / 1e4:.4f}" if p < 0.05 and text == "0.050" else text


def shown(text: str) -> float:
    """Return the number that a text in print shows."""
    return float(text.replace(MINUS, "-"))
