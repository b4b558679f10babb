"""The steps of a run, one module each; `monitor/pipeline.py` tells their order."""
