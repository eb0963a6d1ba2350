"""What no table needs: templates, completion, bundles, a track to compete on, live pages, trackers, surveys.

The command line alone imports it; nothing in the core does (a contract in ``pyproject.toml``).
"""
