"""Frames of several cameras through the model together. Runs on the inference thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from e2ec_ros.image_input import Frame
from e2ec_ros.pipeline import Begun, Pipeline, inside_image
from e2ec_ros.worker import Mailbox, Taken

if TYPE_CHECKING:
    from e2ec_core.inference.predictor import Predictor


class Batches:
    """Segments frames of several cameras, those of one size in one batch.

    A frame that cannot be read, segmented or published costs that frame alone: where the network
    fails for several together, such as for want of memory, each goes through it once more by
    itself.

    Args:
        predictor: the model.
        pipelines: of each camera, by its mailbox.
        report: called with the error of a frame and what handles it.
    """

    def __init__(
        self,
        predictor: Predictor,
        pipelines: Mapping[Mailbox[Frame], Pipeline],
        report: Callable[[Exception, Callable[[Exception], None]], None],
    ) -> None:
        self._predictor = predictor
        self._pipelines = pipelines
        self._report = report

    def process(self, frames: Sequence[Taken[Frame]]) -> None:
        """Segments the frames and publishes everything about them, one size after the other."""
        by_size: dict[tuple[int, ...], list[tuple[Mailbox[Frame], Begun]]] = defaultdict(list)
        for taken in frames:
            try:
                begun = self._pipelines[taken.mailbox].begin(taken.frame, taken.dropped)
                by_size[begun.image_rgb.shape].append((taken.mailbox, begun))
            except Exception as error:
                self._report(error, taken.mailbox.on_error)
        for batch in by_size.values():
            self._segment(batch)

    def _segment(self, batch: Sequence[tuple[Mailbox[Frame], Begun]]) -> None:
        """Segments and publishes frames of one size."""
        try:
            self._predictor.settings = batch[0][1].parameters.predictor_settings()
            predictions = self._predictor.batch([begun.image_rgb for _, begun in batch])
        except Exception as error:
            if len(batch) == 1:
                self._report(error, batch[0][0].on_error)
                return
            predictions = []  # the error ends here: it holds the tensors of the batch
        if not predictions:
            for one in batch:
                self._segment([one])
            return
        for (mailbox, begun), found in zip(batch, predictions, strict=True):
            try:
                if isinstance(found, Exception):
                    raise found
                self._pipelines[mailbox].finish(begun, inside_image(found))
            except Exception as error:
                self._report(error, mailbox.on_error)
