"""Checks of a download of Aff-Wild2, behind ``tools/misc/verify_affwild2.py``."""
