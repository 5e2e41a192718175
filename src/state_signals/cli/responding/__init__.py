"""Acting on signals with shell commands."""
