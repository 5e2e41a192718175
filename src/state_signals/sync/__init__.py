"""The shell for threads: the drop-in replacement of 1.0.1."""
