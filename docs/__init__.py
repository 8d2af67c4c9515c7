"""The documentation, and what builds the parts of it that are taken from the code."""
