"""What torch does with a network: the functions it calls, in place or not."""
