"""The lite model's own parts: its detector, region encoder and contour stages."""
