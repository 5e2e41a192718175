"""What `doctor` finds out, and how."""
