"""Check what a config names, before and after its parts are built."""
