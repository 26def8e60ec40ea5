"""`python -m modalign`."""

from modalign.cli import main

main()
