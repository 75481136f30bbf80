"""Example package: an addition of each kind to ssl_norm."""
