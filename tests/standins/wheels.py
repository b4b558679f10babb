"""Small wheels, made on the spot and byte for byte the same each time."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Sequence

ANYWHERE = "py3-none-any"


def wheel(
    project: str,
    version: str,
    *,
    needs: Sequence[str] = (),
    requires_python: str | None = None,
    tag: str = ANYWHERE,
    build: str | None = None,
    body: str = "",
) -> tuple[str, bytes]:
    """Return (file name, content) of a wheel whose one module holds `body`."""
    name = project.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {project}", f"Version: {version}"]
    metadata += [f"Requires-Python: {requires_python}"] if requires_python else []
    metadata += [f"Requires-Dist: {item}" for item in needs]
    files = {
        f"{name}/__init__.py": body,
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text)
    parts = [name, version, *([build] if build else []), tag]
    return f"{'-'.join(parts)}.whl", content.getvalue()


def _digest(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
