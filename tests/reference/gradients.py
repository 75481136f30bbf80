"""Derivatives by central differences."""

import numpy as np


def numerical_gradient(function, x, cotangent, step=1e-5):
    """Gradient with respect to x of sum(cotangent * function(x)), entry by entry."""
    gradient = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        above, below = x.copy(), x.copy()
        above[index] += step
        below[index] -= step
        difference = function(above) - function(below)
        gradient[index] = (cotangent * difference).sum() / (2 * step)
    return gradient
