"""Watches vLLM and llama.cpp releases for lost multi-token-prediction speedups, and says why."""
