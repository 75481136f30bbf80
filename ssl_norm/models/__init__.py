"""Encoders by name and the heads on top of them. Importing this needs no torch; the modules do."""
