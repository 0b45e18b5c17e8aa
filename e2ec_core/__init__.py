"""E2EC: contour-based instance segmentation in PyTorch."""
