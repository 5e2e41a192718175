"""What is measured, one kind of quantity a file; each returns what goes into the results."""
