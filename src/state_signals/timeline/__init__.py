"""What happened in a run, as a picture and in formats that other tools read."""
