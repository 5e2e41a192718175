"""What `watch` shows: the pure model of its screen, how it is drawn, and what feeds it."""
