"""The command line. `main` is its frame; each other module is one group of commands."""
