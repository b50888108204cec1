"""Score pictures and videos in memory, without a Runner."""
