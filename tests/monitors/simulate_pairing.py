"""Counts of right and wrong forms that the pairing decides on, in Markdown.

python -m tests.monitors.simulate_pairing > pairing.md     # OMP_NUM_THREADS=1
"""

from collections import Counter
from statistics import median

import torch

from ssl_norm.monitors.pairing import Pairing
from tests.monitors import test_pairing as forms

SEEDS, ROWS, STEPS = range(40), (4, 8, 32), 60


def first_form(calls, rows):
    """Return the pairs of the first known form and its step; NONE and STEPS without one."""
    pairing = Pairing()
    for step in range(1, STEPS + 1):
        form = pairing.form(*calls(rows))
        if form.matched:
            return form.pairs, step
    return forms.NONE, STEPS


def cell(calls, pairs, rows):
    """Return the decisions at all seeds: right, wrong, open; and the median step of right ones."""
    counts, steps = Counter(), []
    for seed in SEEDS:
        torch.manual_seed(seed)
        found, step = first_form(calls, rows)
        kind = "open" if found == forms.NONE else "right" if found == pairs else "wrong"
        counts[kind] += 1
        steps += [step] * (kind == "right")
    at = f" (step {median(steps):g})" if steps else ""
    return f"{counts['right']}{at} / {counts['wrong']} / {counts['open']}"


def main():
    """Print the table."""
    print(f"| form: right / wrong / open | {' | '.join(f'{rows} rows' for rows in ROWS)} |")
    print(f"|---|{'---|' * len(ROWS)}")
    for calls, pairs in [*forms.FORMS, *((calls, forms.NONE) for calls in forms.WITHOUT_VIEWS)]:
        grouped = calls is forms.two_views_of_images_sorted_by_class  # by 8 classes
        cells = ["-" if grouped and rows < 8 else cell(calls, pairs, rows) for rows in ROWS]
        print(f"| {calls.__name__.replace('_', ' ')} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
