"""What keeps the benchmarks from giving a figure that means something."""


class BenchmarkError(Exception):
    """A contestant does not start, does not answer, or does not store."""


class SetupError(BenchmarkError):
    """Something is missing on this machine; the message says what to install."""
