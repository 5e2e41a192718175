"""A command between two signals."""
