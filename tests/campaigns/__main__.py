"""Long campaigns: python -m tests.campaigns [name ...] [--trials N] [--seed S] [--first F]."""

import argparse
import sys

from tests.campaigns.campaign import campaigns, report


def main() -> int:
    """Run the campaigns that are named, or all; exit with 1 if a property broke."""
    known = campaigns()
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; without a name, all")
    parser.add_argument("--trials", type=int, help="number of trials instead of the campaign's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no campaign is called {unknown[0]}: there are {', '.join(known)}")
    broken = 0
    for name in given.names or known:
        trials = given.trials or known[name].TRIALS
        broken += report(name, known[name], trials, given.seed, given.first)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
