"""What `bench` does."""
