"""Train the miniature speech model."""

import os

# the loader runs beside the trainer: threads that spin while they wait would take its core
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
