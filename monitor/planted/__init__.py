"""Stand-in releases with a known fault."""
