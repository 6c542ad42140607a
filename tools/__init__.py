"""Programs that made what is shipped; they run from a checkout and are not in the wheel."""
