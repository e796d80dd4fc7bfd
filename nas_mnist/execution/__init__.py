"""Runs trials reliably: what is asked, the store, the queue, workers and their supervision."""
