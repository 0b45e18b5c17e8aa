"""E2EC: every object of an image as a closed contour, grown in stages from its centre."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e2ec_core.contours import HARDLY_HIDDEN, Stage
from e2ec_core.model.candidates import best_candidates
from e2ec_core.model.component_detection import ComponentHead
from e2ec_core.model.peaks import best_peaks
from e2ec_core.model.published.octagon import OctagonInitial
from e2ec_core.model.structures import (
    STRIDE,
    Detections,
    Features,
    Proposals,
    Seeds,
)


def clip_to_map(contour: Tensor, feature: Tensor) -> Tensor:
    """Clamp vertices to the centres of the map's outermost cells, as the published model does.

    Args:
        contour: [B, K, N, 2] (x, y) in input px.
        feature: [B, F, h, w], the map of stride 4 that sets the bounds.
    """
    height, width = feature.shape[-2:]
    x = contour[..., :1].clamp(0, (width - 1) * STRIDE)
    y = contour[..., 1:].clamp(0, (height - 1) * STRIDE)
    return torch.cat([x, y], dim=-1)


def enclosed_area(contour: Tensor) -> Tensor:
    """Area that contours [..., N, 2] enclose, [...]."""
    x, y = contour.unbind(-1)
    return (x * y.roll(-1, -1) - x.roll(-1, -1) * y).sum(-1).abs() / 2


class E2EC(nn.Module):
    """Contour instance segmentation (E2EC, CVPR 2022), assembled from its parts.

    The parts are modules with these calls; contours are [B, K, N, 2] (x, y) in input px:

    * detector: ``(images) -> Features``; holds normalisation, backbone, neck and heads;
    * adapter (lite preset only): ``(features) -> Features``, at the stages' scale;
    * region (lite preset only): ``(features, seeds) -> Region``, read by the stages;
    * component head (optional): ``propose(features, peaks) -> Proposals``, a seed for each part;
    * initial: ``(features, seeds) -> contour``;
    * deformation and each evolution: ``(features, seeds, contour) -> contour``;
    * amodal (optional): ``(features, seeds, contour) -> WholeContours``, a second outline that
      goes on behind what hides the object; it does not change the first.

    The number of slots K is fixed, no step depends on the data's values, and nothing waits for
    the device, so the whole can be exported and compiled.
    """

    def __init__(
        self,
        *,
        detector: nn.Module,
        initial: nn.Module,
        deformation: nn.Module | None,
        evolutions: Sequence[nn.Module],
        adapter: nn.Module | None = None,
        region: nn.Module | None = None,
        component_head: ComponentHead | None = None,
        amodal: nn.Module | None = None,
        clip: bool = True,
    ) -> None:
        """Assemble the model.

        Args:
            detector: image to features.
            initial: the initial contour (paper, section 3.1).
            deformation: the global deformation (section 3.1); without it the coarse contour is
                the initial one.
            evolutions: the contour evolutions (section 4), in order; may be empty.
            adapter: brings the detector's maps to the scale that the stages expect.
            region: encoder of the features inside every seed's box, if the stages read one.
            component_head: finds the components of instances, with a contour each; without it
                every instance is one contour.
            amodal: finds the amodal contour from the final visible one, for a model of both.
            clip: whether inference keeps initial and coarse contours inside the image.
        """
        super().__init__()
        self.detector = detector
        self.adapter = adapter
        self.region = region
        self.component_head = component_head
        self.initial = initial
        self.deformation = deformation
        self.evolutions = nn.ModuleList(evolutions)
        self.amodal = amodal
        self.clip = clip

    def detect(self, images: Tensor, *, learn: bool = True) -> Features:
        """Run the dense part.

        Args:
            images: [B, 3, H, W] float RGB, 0..255; H and W multiples of 32.
            learn: whether gradients, where they are taken at all, reach the detector.

        Raises:
            ValueError: if the size is no multiple of 32.
        """
        height, width = images.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"image is {height}x{width} px; pad it to multiples of 32")
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
            features: Features = self.detector(images)
        return features if self.adapter is None else self.adapter(features)

    def propose(self, features: Features, max_instances: int) -> Proposals:
        """The seeds of the instances that the detector found.

        Args:
            features: of the batch.
            max_instances: K; with a component head, which has more slots, of instances.
        """
        if features.candidates is not None:
            instances = best_candidates(features, max_instances)
        else:
            instances = best_peaks(features, max_instances)
        if self.component_head is not None:
            return self.component_head.propose(features, instances)
        return instances

    def encode_regions(self, features: Features, seeds: Seeds) -> Seeds:
        """The seeds with their region features, where the model has a region encoder."""
        if self.region is None or seeds.region is not None:
            return seeds
        return seeds._replace(region=self.region(features, seeds))

    def rate(self, scores: Tensor, seeds: Seeds) -> Tensor:
        """Scores [B, K] of the instances with their contours.

        A detector scores boxes. Where regions are encoded, the mean of the mask's probability
        inside the mask says how sure the outline is, and multiplies the score (as "maskness" in
        SOLO, Wang et al., ECCV 2020).
        """
        if seeds.region is None:
            return scores
        probability = seeds.region.mask.flatten(2).sigmoid()
        inside = (probability > 0.5).to(probability.dtype)
        sure = (probability * inside).sum(2) / inside.sum(2).clamp(min=1)
        return scores * sure.to(scores.dtype)

    def grow(
        self,
        features: Features,
        seeds: Seeds,
        stage: Stage = "final",
        *,
        clip: bool,
    ) -> list[Tensor]:
        """Grows one contour per slot, up to the given stage.

        The evolutions start from a detached coarse contour, so that their losses do not reach
        the stages before, as published; later evolutions are not detached.

        Args:
            features: of the same batch.
            seeds: where the contours grow.
            stage: the last stage to compute.
            clip: keep initial and coarse contours inside the image (inference; not training).

        Returns:
            The contours [initial, coarse, evolved 1, evolved 2, ...], each [B, K, N, 2] input px.
        """
        seeds = self.encode_regions(features, seeds)
        contours = [self.start(features, seeds, clip=clip)]
        if stage != "initial":
            contours.append(self.deform(features, seeds, contours[0], clip=clip))
        if stage == "final":
            contours += self.evolve(features, seeds, contours[1])
        return contours

    def start(self, features: Features, seeds: Seeds, *, clip: bool) -> Tensor:
        """The initial contour; arguments as in `grow`, the regions encoded."""
        contour: Tensor = self.initial(features, seeds)
        return clip_to_map(contour, features.feature) if clip else contour

    def deform(self, features: Features, seeds: Seeds, contour: Tensor, *, clip: bool) -> Tensor:
        """The coarse contour from the initial one."""
        if self.deformation is None:
            return contour
        contour = self.deformation(features, seeds, contour)
        return clip_to_map(contour, features.feature) if clip else contour

    def evolve(self, features: Features, seeds: Seeds, contour: Tensor) -> list[Tensor]:
        """The contours after each evolution of the coarse one; the last is the final one."""
        contours = [contour.detach()]
        for evolution in self.evolutions:
            contours.append(evolution(features, seeds, contours[-1]))
        return contours[1:]

    def grow_amodal(self, features: Features, seeds: Seeds, visible: Tensor) -> Tensor:
        """The amodal contours [B, K, N, 2] input px of a model of both outlines.

        Where it encloses hardly more than the visible contour, it is the visible contour: what
        nothing hides keeps its exact outline.

        Args:
            features: of the batch.
            seeds: where the visible contours grew.
            visible: final visible contours, as the result.
        """
        assert self.amodal is not None
        whole: Tensor = self.amodal(features, seeds, visible).contour
        hidden = 1 - enclosed_area(visible) / enclosed_area(whole).clamp(min=1e-6)
        return torch.where((hidden < HARDLY_HIDDEN)[..., None, None], visible, whole)

    def initial_target(self, contour: Tensor) -> Tensor:
        """What the initial contour learns for true contours [B, K, N, 2], same shape and units."""
        if isinstance(self.initial, OctagonInitial):
            return self.initial.target(contour)
        return contour

    def forward(
        self,
        images: Tensor,
        *,
        max_instances: int = 32,
        stage: Stage = "final",
    ) -> Detections:
        """Finds the instances of each image.

        Args:
            images: [B, 3, H, W] float RGB, 0..255; H and W multiples of 32.
            max_instances: K, the number of slots per image; with a component head, of instances.
            stage: which contour to return.
        """
        features = self.detect(images)
        found = self.propose(features, max_instances)
        seeds = self.encode_regions(features, found.seeds)
        contours = self.grow(features, seeds, stage, clip=self.clip)[-1]
        scores, order = self.rate(found.scores, seeds).sort(dim=1, descending=True, stable=True)
        ids = found.instance_ids
        return Detections(
            contours.take_along_dim(order[:, :, None, None], 1),
            scores,
            found.class_ids.take_along_dim(order, 1),
            None if ids is None else ids.take_along_dim(order, 1),
        )
