"""Code that runs inside Triton's Python backend, imported by the few lines of each deployed `model.py`."""
