"""`python -m easel` is `easel`."""

from easel.cli.main import main

main()
