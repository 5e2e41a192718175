"""Reading along."""
