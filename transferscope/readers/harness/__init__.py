"""Results of other evaluation harnesses: a mapping file, and one module for each format."""
