"""HTML report of runs, and maps of where on a face a classifier looks."""
