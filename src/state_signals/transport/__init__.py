"""How bytes travel: one contract (`base`), one file a backend."""
