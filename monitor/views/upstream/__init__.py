"""A ready text for the tracker of a project: what a stranger needs to see the loss with his own eyes."""
