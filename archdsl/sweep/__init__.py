"""Many variants of one network."""
