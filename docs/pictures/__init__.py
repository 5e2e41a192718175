"""Makes the pictures of the documentation, from real runs: `make pictures`."""
