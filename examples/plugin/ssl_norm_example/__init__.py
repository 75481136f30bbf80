"""One addition of each kind to ssl_norm."""
