"""The method: space, sampler, pruner and front. No torch, no database, no processes."""
