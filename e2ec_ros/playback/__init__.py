"""What plays images: the camera node and its sources."""
