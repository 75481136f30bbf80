"""Evaluation by loops in float64, from the definitions."""

from math import exp

import numpy as np


def knn_scores(bank, bank_labels, queries, classes, k, temperature):
    """Votes exp(similarity / temperature) of the k most similar (Wu et al. 2018, section 3.4)."""
    votes = np.zeros((len(queries), classes))
    for i, query in enumerate(queries):
        similarities = [
            float(np.dot(query, sample) / np.linalg.norm(query) / np.linalg.norm(sample))
            for sample in bank
        ]
        nearest = sorted(range(len(bank)), key=lambda j: -similarities[j])[:k]
        for j in nearest:
            votes[i, bank_labels[j]] += exp(similarities[j] / temperature)
    return votes
