"""Write folders of features: from crops, from sound, and from files of others."""
