"""The pages that ``make docs`` generates: Markdown, out of registries, dataclasses and their comments."""
