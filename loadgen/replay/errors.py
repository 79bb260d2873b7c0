"""What can be wrong with a file or a mapping; the message names the place and what to do."""

from loadgen.producer import LoadError


class ReplayError(LoadError):
    """A file cannot be replayed as asked."""
