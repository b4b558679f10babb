"""Container images as artifacts."""

from __future__ import annotations

from monitor.domain.releases import Artifact

IMAGE_SCHEME = "docker://"
"""How the address of an image begins, as container tools write it; behind it the image and its digest."""


def is_image(artifact: Artifact) -> bool:
    """Say whether an artifact is a container image: its sha256 is the digest of its manifest."""
    return artifact.url.startswith(IMAGE_SCHEME)
