"""Encoders by name, and heads. Importing the package does not import torch; its modules do."""
