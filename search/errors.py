"""What can be wrong with what somebody gave to search."""


class SearchError(Exception):
    """Root of the errors that `search` raises on purpose; its text is written for the user."""


class SpaceError(SearchError, ValueError):
    """A space file cannot be loaded, or says something a search cannot use."""


class OptionsError(SearchError, ValueError):
    """A flag has a value that is not allowed, or needs what is not there."""


class RunError(SearchError, RuntimeError):
    """A run's folder is taken, missing, damaged, or of another search."""


class StudyError(SearchError, RuntimeError):
    """The study's storage failed in the middle: a full disk, a database that went away."""


class TrialsError(SearchError, RuntimeError):
    """No trial could be finished, so there is no winner."""


class ClusterError(SearchError, RuntimeError):
    """A cluster cannot be reached, refuses, or could not run what it would be sent."""
