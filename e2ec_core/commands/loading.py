"""Loads the model that the options of a command name."""

from __future__ import annotations

from e2ec_core.commands.model_options import ModelOptions
from e2ec_core.inference import Predictor
from e2ec_core.predictor_settings import PredictorSettings


def load_predictor(
    options: ModelOptions, settings: PredictorSettings, *, threads: int = 0
) -> Predictor:
    """Loads a model.

    Args:
        options: which weights, and where they run.
        settings: of the predictor.
        threads: CPU threads of one inference; 0 leaves the choice to the backend.

    Raises:
        ValueError: weights, device or precision do not fit.
    """
    if options.weights is None:
        return Predictor.from_pretrained(
            device=options.device,
            precision=options.precision,
            settings=settings,
            backend=options.backend,
            threads=threads,
        )
    return Predictor.from_checkpoint(
        options.weights,
        device=options.device,
        precision=options.precision,
        settings=settings,
        backend=options.backend,
        threads=threads,
    )
