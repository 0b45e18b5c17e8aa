"""`e2ec export` says what is wrong at once, and writes only what it has compared."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2ec_core.contours import Contours
from e2ec_core.image_files import read_image
from e2ec_core.inference import Prediction, Predictor
from e2ec_core.inference.agreement import greatest_distance, mean_distances


def test_wrong_names_are_said_in_one_line(e2ec: Callable, tmp_path: Path) -> None:
    reply = e2ec("export", "weights/e2ec_lite.safetensors", tmp_path / "lite.safetensors")
    assert reply.status == 2
    assert "give a name that ends with .onnx" in reply.error
    taken = tmp_path / "lite.onnx"
    taken.write_bytes(b"mine")
    reply = e2ec("export", "weights/e2ec_lite.safetensors", taken)
    assert reply.status == 2
    assert "give --overwrite" in reply.error
    assert taken.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "384"), "size is '384'; give HEIGHTxWIDTH in multiples of 32"),
        (("--size", "380x1280"), "size is '380x1280'; give HEIGHTxWIDTH"),
        (("--instances", "201"), "instances is 201; give 1 to 200"),
        (("--opset", "12"), "opset is 12; give 18 to 23"),
        (("--precision", "int4"), "precision"),
        (("--format", "openvino"), "format"),
        (("--format", "tensorrt", "--size", "384x640"), "give --size and --instances"),
        (("--format", "tensorrt", "--instances", "32"), "give --size and --instances"),
        (
            ("--format", "tensorrt", "--size", "64x64", "--instances", "8", "--batches"),
            "and not --batches",
        ),
    ],
)
def test_options_that_cannot_be_are_said_at_once(
    e2ec: Callable, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    reply = e2ec("export", "weights/e2ec_lite.safetensors", tmp_path / "lite.onnx", *words)
    assert reply.status == 2
    assert message in reply.error


@pytest.mark.slow
def test_the_command_writes_and_compares(
    e2ec: Callable, exported: Path, portrait: Path, repo_dir: Path, tmp_path: Path
) -> None:
    """The file that ships is what the command writes."""
    pytest.importorskip("onnxscript", reason="no onnxscript: pip install '.[export]'")
    weights, target = repo_dir / "weights/e2ec_lite.safetensors", tmp_path / "lite.onnx"
    reply = e2ec("export", weights, target, "--images", portrait)
    assert (reply.status, reply.err) == (0, "")
    assert "px of PyTorch's" in reply.out
    onnx = pytest.importorskip("onnx")
    written, shipped = (
        {value.name: value.raw_data for value in onnx.load(str(path)).graph.initializer}
        for path in (target, exported)
    )
    assert written == shipped
    reply = e2ec("export", weights, target, "--images", portrait, "--tolerance=0", "--overwrite")
    assert reply.status == 2
    assert "nothing is written" in reply.error


@pytest.mark.slow
def test_a_file_for_batches(
    e2ec: Callable, portrait: Path, repo_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="no onnxscript: pip install '.[export]'")
    weights, target = repo_dir / "weights/e2ec_lite.safetensors", tmp_path / "batches.onnx"
    reply = e2ec("export", weights, target, "--batches", "--images", portrait)
    assert reply.status == 0, reply.err  # batches were compared
    session = importlib.import_module("onnxruntime").InferenceSession(target)
    assert not any(isinstance(side, int) for side in session.get_inputs()[0].shape[:3])
    predictor, image = Predictor.from_checkpoint(target, device="cpu"), read_image(portrait)
    for count in (1, 3):
        for found in predictor.batch([image] * count):
            assert isinstance(found, Prediction)
            assert greatest_distance(found.contours, predictor(image).contours) < 0.01


@pytest.mark.slow
def test_a_file_of_one_size_and_number_in_8_bits(
    e2ec: Callable, portrait: Path, repo_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="no onnxscript: pip install '.[export]'")
    weights, target = repo_dir / "weights/e2ec_lite.safetensors", tmp_path / "small.onnx"
    words = ("--size", "256x320", "--instances", "16", "--precision", "int8", "--images", portrait)
    reply = e2ec("export", weights, target, "--format", "tensorrt", *words)
    assert reply.status == 0, reply.err
    assert "builds its engine from it at the first start" in reply.out
    median = float(reply.out.split("lie within ")[1].split(" px")[0])
    assert median < 1.0
    predictor = Predictor.from_checkpoint(target, device="cpu")
    exact = Predictor.from_checkpoint(weights, device="cpu")
    image = read_image(portrait)
    placed, _ = predictor.prepare(image, predictor.settings)
    assert placed.shape == (256, 320, 3)
    found = predictor(image).contours
    assert 0 < len(found) <= 16
    assert mean_distances(found, exact(image).contours).min() < 0.02 * max(image.shape)
    for other in predictor.batch([image, image]):  # one after the other
        assert isinstance(other, Prediction)
        np.testing.assert_array_equal(other.contours.vertices, found.vertices)
    few = replace(predictor.settings, max_instances=1, score_threshold=0.0)
    predictor.settings = few
    assert len(predictor(image).contours) == 1


def _contours(vertices: np.ndarray, scores: list[float]) -> Contours:
    ids = np.zeros(len(scores), np.int64)
    return Contours(
        vertices=vertices.astype(np.float32),
        scores=np.array(scores, np.float32),
        class_ids=ids,
        stage="final",
        image_size=(100, 100),
    )


def test_contours_are_matched_by_score_before_they_are_compared() -> None:
    vertices = np.random.default_rng(0).uniform(0, 100, (3, 8, 2))
    a = _contours(vertices, [0.9, 0.50001, 0.5])
    b = _contours(vertices[[0, 2, 1]], [0.9, 0.50001, 0.5])
    assert greatest_distance(a, b) == 0
    moved = vertices.copy()
    moved[1, 3, 0] += 0.5
    assert greatest_distance(a, _contours(moved, [0.9, 0.50001, 0.5])) == pytest.approx(0.5, 1e-4)
    assert greatest_distance(a, a[:2]) == np.inf
    assert greatest_distance(a, _contours(vertices, [0.9, 0.6, 0.5])) == np.inf
    assert greatest_distance(a[:0], a[:0]) == 0


def test_mean_distances_are_to_the_nearest_contour_of_the_class() -> None:
    vertices = np.random.default_rng(0).uniform(0, 100, (2, 8, 2))
    a, b = _contours(vertices, [0.9, 0.5]), _contours(vertices[::-1] + [3, 4], [0.8, 0.7])
    np.testing.assert_allclose(mean_distances(a, b), [5, 5], rtol=1e-5)
    assert (mean_distances(a, b[:0]) == np.inf).all()
