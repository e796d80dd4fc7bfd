"""Floor 0: networks as values. Nothing here but `network.py` imports torch."""
