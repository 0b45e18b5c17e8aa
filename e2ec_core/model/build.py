"""Builds the presets; the one place that knows their sizes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from e2ec_core.config import DeformationKind, ModelConfig
from e2ec_core.model.component_detection import ComponentHead
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.lite.detector import LAYOUT, NanoDetPlus
from e2ec_core.model.lite.maps import StageMaps
from e2ec_core.model.lite.region import RegionEncoder
from e2ec_core.model.lite.stages import LiteDeformation, LiteEvolution, LiteInitial
from e2ec_core.model.lite.whole import WholeOutline
from e2ec_core.model.peaks import HEATMAP_BIAS
from e2ec_core.model.published.deformation import GlobalDeformation, PaperDeformation
from e2ec_core.model.published.detector import CenterNetDetector, Normalize
from e2ec_core.model.published.dla import CHANNELS, DLA34
from e2ec_core.model.published.evolution import ContourEvolution, ContourNet
from e2ec_core.model.published.heads import ConvHead
from e2ec_core.model.published.initial import InitialContour
from e2ec_core.model.published.neck import DLANeck
from e2ec_core.model.published.octagon import OctagonInitial
from e2ec_core.model.sampling import HALF_PIXEL_SHIFT, MapLayout
from e2ec_core.model.structures import STRIDE


def build_model(config: ModelConfig) -> E2EC:
    """Builds a model with fresh weights.

    Args:
        config: preset, classes, vertices and number of evolutions.
    """
    return _build_lite(config) if config.preset == "e2ec_lite" else _build_dla34(config)


def _build_lite(config: ModelConfig) -> E2EC:
    """NanoDet-Plus with box-relative contour stages, for CPUs and small boards."""
    shape, code, vertices = 32, 256, config.contour_vertices
    maps = LAYOUT.with_detail()

    def evolution(reach: float) -> LiteEvolution:
        return LiteEvolution(maps, shape, code, reach=reach)

    detector = NanoDetPlus(len(config.class_names))
    for name, layer in detector.named_modules():
        if name.endswith(".classes"):
            _start_low(layer)
    return E2EC(
        detector=detector,
        adapter=StageMaps(LAYOUT),
        region=RegionEncoder(maps, channels=shape, code=code),
        initial=(
            LiteInitial(maps, code, vertices)
            if config.initial == "learned"
            else OctagonInitial(evolution(0.32), vertices)
        ),
        deformation=(
            None if config.deformation == "none" else LiteDeformation(shape, code, vertices)
        ),
        evolutions=[evolution(0.32 / 2**i) for i in range(config.evolutions)],
        component_head=_component_head(config, LAYOUT.feature, hidden=64),
        amodal=(
            WholeOutline(maps, channels=shape, code=code, vertices=vertices)
            if config.both_outlines
            else None
        ),
        clip=False,
    )


def _build_dla34(config: ModelConfig) -> E2EC:
    """The paper's model, with the sizes of the published one."""
    channels, vertices = CHANNELS[2], config.contour_vertices
    octagonal = config.initial == "octagon"

    def evolution() -> ContourEvolution:
        return ContourEvolution(ContourNet(channels + 2))

    detector = CenterNetDetector(
        normalize=Normalize(),
        backbone=DLA34(),
        neck=DLANeck(CHANNELS[2:]),
        heatmap_head=_heatmap_head(channels, len(config.class_names)),
        box_head=ConvHead(channels, 4, coordinates=True)
        if octagonal or config.components
        else None,
    )
    deformations: dict[DeformationKind, Callable[[int, int], nn.Module | None]] = {
        "global": GlobalDeformation,
        "paper": PaperDeformation,
        "none": lambda *_: None,
    }
    return E2EC(
        detector=detector,
        initial=(
            OctagonInitial(evolution(), vertices)
            if octagonal
            else InitialContour(channels, vertices)
        ),
        deformation=deformations[config.deformation](channels, vertices),
        evolutions=[evolution() for _ in range(config.evolutions)],
        component_head=_component_head(
            config, MapLayout(channels, STRIDE, HALF_PIXEL_SHIFT), hidden=256
        ),
    )


def _component_head(
    config: ModelConfig, layout: MapLayout, *, hidden: int
) -> ComponentHead | None:
    if not config.components:
        return None
    unsplit = [i in config.unsplit_ids for i in range(len(config.class_names))]
    return ComponentHead(layout, unsplit, hidden=hidden)


def _heatmap_head(channels: int, classes: int) -> ConvHead:
    head = ConvHead(channels, classes)
    _start_low(head.out)
    return head


def _start_low(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, HEATMAP_BIAS)
