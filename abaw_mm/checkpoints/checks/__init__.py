"""Check what a checkpoint holds: arrays, values, classes, paths."""
