"""The layer kinds, one file each, named after the word in a spec."""
