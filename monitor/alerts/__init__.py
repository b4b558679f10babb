"""Telling people: messages as plain values, and the ways they are delivered."""
