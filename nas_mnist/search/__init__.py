"""The method: space, sampler, pruner and front. No torch, no database, no processes.

Called, `nas_mnist.search(...)` runs a search: help(nas_mnist.api.search) has its arguments.
"""
