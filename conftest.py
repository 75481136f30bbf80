"""Limit of one thread for each parallel process of the tests; set before torch is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
