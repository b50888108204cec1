"""Pictures and pages: the report of a run, and maps of where a classifier looks."""
