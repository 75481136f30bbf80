"""Tests run side by side, a process a core, so that each needs one thread only; set before torch is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
