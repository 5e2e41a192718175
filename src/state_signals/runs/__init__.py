"""What has happened in runs, and what goes on in them now: read from a server without taking part."""
