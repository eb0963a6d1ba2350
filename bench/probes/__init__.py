"""Probes: what a frozen encoder's features tell of the labels, solved in closed form; no training, no seed."""
