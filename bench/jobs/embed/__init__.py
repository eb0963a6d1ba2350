"""Embed: what one encoder makes of samples of every data set."""
