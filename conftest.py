"""One thread for each process of the tests, which run in parallel; set before torch is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
