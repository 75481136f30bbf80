"""Typed settings of all tools: one declaration per setting, everything else derived from it."""
