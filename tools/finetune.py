"""Train a classifier with few or all labels. `python tools/finetune.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("finetune")
