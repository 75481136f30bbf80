"""Kill rate of the tests: python -m tests.mutants [--only N ...] [--sample N --seed S]."""

import argparse
import random
import sys
import time
from collections import Counter

from tests.mutants.mutant import mutants, verdict


def main() -> int:
    """Run the tests of each mutant and print a table; exit with 1 unless all are killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of mutants")
    parser.add_argument("--sample", type=int, help="number of random mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    given = parser.parse_args()
    chosen = [each for each in mutants() if given.only is None or each.number in given.only]
    if given.sample is not None:
        chosen = random.Random(given.seed).sample(chosen, given.sample)
    counts, start = Counter[str](), time.monotonic()
    for done, mutant in enumerate(chosen, start=1):
        found, by = verdict(mutant)
        counts[found] += 1
        print(f"{done}/{len(chosen)}  {mutant.number:>3} {mutant.file}: {found} {by}", flush=True)
        if found != "killed":
            print(f"{mutant.before}\n->\n{mutant.after}", flush=True)
    for found, count in counts.most_common():
        print(f"{found:<18} {count:>4}  {count / len(chosen):.1%}")
    print(f"{(time.monotonic() - start) / 60:.1f} min")
    return int(counts["killed"] < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
