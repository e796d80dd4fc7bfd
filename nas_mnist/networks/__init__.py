"""Networks as values: layers, costs, notation, the skeleton and its fit to a limit."""
