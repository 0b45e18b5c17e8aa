"""The command `e2ec`: one module for each of its commands."""
