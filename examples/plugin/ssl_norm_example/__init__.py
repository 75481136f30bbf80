"""Example of a package that adds an object of each kind to ssl_norm."""
