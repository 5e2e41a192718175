"""The steps of a run, each a process of its own."""
