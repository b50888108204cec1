"""Postprocessing of predictions: averages, smoothing, thresholds, and how they are chosen."""
