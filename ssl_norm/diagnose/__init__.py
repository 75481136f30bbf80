"""Whether a network at rest has collapsed, and where: from weights and images to numbers and a verdict."""
