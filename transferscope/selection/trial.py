"""The experiment that tries what a selection is worth: what competes, and how it did."""
