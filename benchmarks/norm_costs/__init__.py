"""What norms cost: the sections of benchmarks/norms.py."""
