"""Floor 2: the search. It never prints and draws nothing."""
