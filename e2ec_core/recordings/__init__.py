"""Frames of images, videos and bags, and contours for them as files."""
