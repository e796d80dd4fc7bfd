"""Floor 1: data, recipes and the trainer. Knows networks, not searches."""
