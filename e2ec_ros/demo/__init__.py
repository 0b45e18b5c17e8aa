"""What `make demo` runs: camera and node as children, a recorder, a report."""
