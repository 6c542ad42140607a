"""The errors, as one small tree.

    TransferscopeError
    ├── DataError    (ValueError)  an input file, row, field or number is invalid
    ├── StudyError   (ValueError)  a study file, a setting or an option is invalid
    └── MissingExtra (ImportError) an optional dependency is not installed

A message is one line: where, what was found, what is allowed, what to do next. The command line
prints it without a traceback and exits with code 2.
"""


class TransferscopeError(Exception):
    """Every error that this package raises on purpose."""


class DataError(TransferscopeError, ValueError):
    """An input file, row, field or number is invalid."""


class StudyError(TransferscopeError, ValueError):
    """A study file, a setting or an option is invalid."""


class MissingExtra(TransferscopeError, ImportError):
    """An optional dependency is not installed; the message names the extra that installs it."""
