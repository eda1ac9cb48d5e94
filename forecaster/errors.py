"""The mistakes that a user can mend.

Every message has three parts: what was found (series, time, value, file and row), what was expected, what to do now.
The command line prints one as a single line on stderr and leaves with exit code 2; any other exception is our bug and
keeps its traceback.
"""


class ForecasterError(Exception):
    """A mistake that the user can mend."""


class DataError(ForecasterError):
    """The data is not what a forecaster can use: a file, a column, a timestamp, a value."""


class ConfigError(ForecasterError):
    """A setting is unknown, out of range, or at odds with another one."""


class StateError(ForecasterError):
    """Kept state is missing, damaged, or belongs to another model."""
