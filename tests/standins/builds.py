"""The versions of xllamacpp whose llama.cpp has MTP, by build."""

from __future__ import annotations

MTP_BUILDS = (
    "2026.5.9294",
    "2026.6.9538",
    "2026.6.9713",
    "2026.7.9873",
    "2026.7.10068",
    "2026.8.10229",
    "2026.8.10566",
    "2026.9.10809",
    "2026.9.11063",
    "2026.10.11549",
)
