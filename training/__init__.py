"""Train the miniature speech model."""

import os

# the loader runs beside the trainer: a pool of threads in each would fight over the cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
