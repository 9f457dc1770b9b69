"""The report: what a run found, as numbers, Markdown, a model card, and a page that a person wants to read."""
