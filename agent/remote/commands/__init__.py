"""One module for each command: the fields that it takes, and what it does."""
