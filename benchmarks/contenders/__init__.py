"""Those that are measured, one a file: each a `Surveyor` that asks and `Responders` that answer (see `base`)."""
