"""The paper's own parts: DLA-34 and its neck, the initial contour, deformation, evolution."""
