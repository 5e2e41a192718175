"""Who is waited for, and what has become of rounds, as it is shown."""
