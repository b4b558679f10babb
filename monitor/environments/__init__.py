"""Isolated installs of single artifacts."""
