"""Local stand-ins for the services the monitor talks to, with switchable quirks and lies."""
