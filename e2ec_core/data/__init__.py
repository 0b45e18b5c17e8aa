"""Datasets: annotation files and generated scenes."""
