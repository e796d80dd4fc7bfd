"""Floor 3: which sampler and which pruner search best, measured on recorded curves."""
