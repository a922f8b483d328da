"""How good is a model? Metrics, objectives, thresholds and intervals, on NumPy arrays."""
