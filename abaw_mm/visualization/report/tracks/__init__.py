"""Parts of the report, one for each target of a track, and the scores that they show."""
