"""How the embedded bases were made: drawn scenes, pretraining, growing, mixing, measuring.

Run `python -m tools.glimpse_bases COMMAND --help` from a checkout.
"""
