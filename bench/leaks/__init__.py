"""The same scan under another name: fingerprints and how they are compared."""
