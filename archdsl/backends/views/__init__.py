"""Tables of `archdsl analyze`, one file each."""
