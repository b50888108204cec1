"""Draw faces and their expressions on the frames of a video."""
