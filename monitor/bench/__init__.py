"""Measuring: the client, one session of one server, and its samples on disk."""
