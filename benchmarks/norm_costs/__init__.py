"""Sections of benchmarks/norms.py: costs of norms."""
