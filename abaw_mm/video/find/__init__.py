"""Find faces in pictures."""
