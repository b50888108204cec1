"""Connect the faces of single frames to tracks of one person each."""
