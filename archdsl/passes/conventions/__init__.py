"""How other tools count, one file each."""
