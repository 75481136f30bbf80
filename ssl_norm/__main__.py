"""`python -m ssl_norm COMMAND`: the same as the console command `ssl-norm`."""

from ssl_norm.cli.commands import main

main()
