"""The four passes over memory that :mod:`ssl_norm.norms.core` is made of, per kind of device."""
