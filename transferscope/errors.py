"""What can go wrong, as one small tree.

    TransferscopeError
    ├── DataError    (ValueError)  an input table or number is not what it must be
    ├── StudyError   (ValueError)  a study file or a setting is not what it must be
    └── MissingExtra (ImportError) an optional dependency is needed and absent

A message is one line: where, what was found, what is allowed, what to do next. The command line
prints it without a traceback and exits with code 2.
"""


class TransferscopeError(Exception):
    """Anything this package raises on purpose."""


class DataError(TransferscopeError, ValueError):
    """An input file, row, field or number is not what it must be."""


class StudyError(TransferscopeError, ValueError):
    """A study file or a setting is not what it must be."""


class MissingExtra(TransferscopeError, ImportError):
    """An optional dependency is needed; the message names the extra that brings it."""
