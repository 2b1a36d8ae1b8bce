"""The paper's experiments: what the test images hold, and that estimates are taken down and summed up as they are."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.networks.voxel_peaks import find_peaks
from planeloc.networks.weight_files import load_network, save_network
from planeloc.psf import Emitters, paper_psf
from planeloc.scenes.draw import voxel_of
from planeloc.scenes.scene import paper_scene
from planeloc.training.loop import fit_network
from planeloc.training.settings import TrainSettings
from planeloc_reproduction.baselines import build
from planeloc_reproduction.bound import write_bound
from planeloc_reproduction.estimators import Estimator, Found
from planeloc_reproduction.helix import curve, helix
from planeloc_reproduction.images import Recipe, centre_of, draw_images, recipe_of
from planeloc_reproduction.network_estimator import NetworkEstimator
from planeloc_reproduction.one_molecule import one_molecule
from planeloc_reproduction.speed import measure_speed
from planeloc_reproduction.sweeps import measure, sweep

PSF, SCENE = paper_scene()
VOXEL_NM = torch.tensor(SCENE.voxel_nm(PSF.pixel_size_nm))
TOL_MEAN_SD = 4.0  # standard deviations of a mean


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of both networks, hardly trained."""
    folder = tmp_path_factory.mktemp("networks")
    tiny = TrainSettings(
        network="upsampling", samples=16, channels="8,8,8,8", validation=8, registration_resampling=False, device="cpu"
    )
    for name, reach in (("robust", 2), ("nonrobust", 0)):
        scene = replace(SCENE, inter_camera_drift_voxels=reach)
        network, record, _ = fit_network(
            PSF, scene, None, folder / "checkpoint.safetensors", replace(tiny, inter_camera_drift_voxels=reach)
        )
        save_network(folder / f"{name}.safetensors", network, record)
    return folder


class Perfect(Estimator):
    """Knows the truth, and misses it by a given step."""

    name = "perfect"

    def __init__(self, step_nm=(0.0, 0.0, 0.0), image_share=1.0):
        self.step_nm, self.image_share = torch.tensor(step_nm, dtype=torch.float64), image_share

    def locate(self, test):
        kept = test.image < self.image_share * len(test.images)
        position = test.position_nm[kept] + self.step_nm
        return Found(test.image[kept], position, voxel_of(position, PSF.pixel_size_nm, SCENE), 1.0)


def test_the_paper_s_images_are_table_2_with_one_molecule():
    test = draw_images(Recipe(), 600, seed=3)
    assert test.counts == [1] * 600
    steps = test.shifts_nm / VOXEL_NM[0]
    assert torch.equal(steps, steps.round()) and steps.abs().max() == 2 and not steps[:, 0].any()
    weights = test.photons / (4 * 5.0e7 / 192.0**2)  # Table 2's weights, of the photons that a' = 5e7 is
    assert weights.min() >= 0.3 and weights.max() <= 1.0
    dark = test.images[:, :, 0, 0][(test.position_nm[:, :2] > 2000).all(dim=1)]  # far from every molecule
    assert dark.mean().abs() < TOL_MEAN_SD * math.sqrt(13 / dark.numel())
    assert dark.var().item() == pytest.approx(4 + 9, rel=TOL_MEAN_SD * math.sqrt(2 / dark.numel()))


def test_images_show_their_molecules_where_they_are():
    """The mean image of many draws of noise is the model, with every plane displaced by its drift."""
    test = draw_images(Recipe(), 1, seed=5)
    x, y, z = test.position_nm[0]
    expected = PSF.expected_photons(Emitters(x, y, z, test.photons[0].double(), test.shifts_nm[0].double()), (16, 16))
    noise = (expected + 13).sqrt()
    assert (((test.images[0] - expected) / noise) ** 2).mean().item() == pytest.approx(1, abs=TOL_MEAN_SD * 0.045)


def test_molecules_in_the_middle_of_voxels_and_back():
    test = draw_images(recipe_of("voxel_centres"), 50, seed=1)
    centre = centre_of(test.voxel, PSF.pixel_size_nm, SCENE)
    assert torch.allclose(test.position_nm, centre.double(), atol=1e-3)
    assert torch.equal(voxel_of(centre, PSF.pixel_size_nm, SCENE), test.voxel)


def test_the_camera_s_images_differ_in_model_and_drift_but_not_in_width():
    test = draw_images(recipe_of("camera"), 400, seed=1)
    drift = test.shifts_nm[:, 1:]
    assert not torch.equal(drift, (drift / 24).round() * 24)
    assert drift.std().item() == pytest.approx(SCENE.drift_sd_nm(192.0), rel=0.05)
    integrated = replace(paper_psf(), waist_nm=121.0, focus_depth_nm=275.0, pixel_integration=True)
    for depth in (0.0, 500.0):
        width = integrated.squared_width(depth) + 192**2 / 12
        assert width == pytest.approx(paper_psf().squared_width(depth), rel=0.02)


def test_additive_noise_is_the_same_under_a_molecule_and_beside_it():
    test = draw_images(recipe_of("additive_noise"), 300, seed=1)
    x, y, z = test.position_nm.T
    light = PSF.expected_photons(Emitters(x, y, z, test.photons.double(), test.shifts_nm.double()), (16, 16))
    noise = test.images - light
    bright, dark = noise[light > 50], noise[light < 1]
    for pixels in (bright, dark):
        assert pixels.var().item() == pytest.approx(4 + 9, rel=TOL_MEAN_SD * math.sqrt(2 / len(pixels)))


def test_the_number_of_molecules_is_poisson():
    counts = torch.tensor(draw_images(Recipe(molecules=2.0, poisson=True), 800, seed=2).counts).double()
    assert counts.mean().item() == pytest.approx(2, abs=TOL_MEAN_SD * math.sqrt(2 / 800))
    assert counts.var().item() == pytest.approx(2, rel=0.25)


def test_unknown_data_are_refused():
    with pytest.raises(PlanelocError, match="no data set 'moon'"):
        recipe_of("moon")


def test_measures_of_a_known_error():
    test = draw_images(Recipe(), 200, seed=4)
    exact = measure(test, Perfect().locate(test), voxels=True)
    assert exact["jaccard"] == exact["voxel_jaccard"] == 1.0
    assert exact["lateral_nm"] == exact["axial_nm"] == 0.0
    off = measure(test, Perfect((30.0, 40.0, -25.0), 0.5).locate(test), voxels=False)
    assert off["jaccard"] == pytest.approx(0.5)
    assert off["jaccard_low"] < 0.5 < off["jaccard_high"]
    assert off["lateral_nm"] == pytest.approx(50) and off["rmse_axial_nm"] == pytest.approx(25)
    half = measure(test, Perfect(image_share=0.5).locate(test), voxels=True)
    assert half["voxel_jaccard"] == pytest.approx(0.5)  # hits over molecules and places together
    far = measure(test, Perfect((0.0, 0.0, 600.0)).locate(test), voxels=False)
    assert far["jaccard"] == 0.0 and far["lateral_nm"] is None and far["rmse_lateral_nm"] is None


def test_the_interval_of_a_share_is_that_of_the_binomial():
    """Bootstrap of 200 images of which every other one is found: 0.5 ± 1.96 √(0.25/200)."""
    test = draw_images(Recipe(), 200, seed=4)
    values = measure(test, Perfect(image_share=0.5).locate(test), voxels=False)
    half_width = 1.96 * math.sqrt(0.25 / 200)
    assert (values["jaccard_high"] - values["jaccard_low"]) / 2 == pytest.approx(half_width, rel=0.15)


@pytest.mark.parametrize("estimator", ["matching_pursuit", "compressed_sensing", "alternating", "fit_with_drift"])
def test_one_molecule_is_written_alike_every_time(tmp_path, estimator):
    results = []
    for run in ("a", "b"):
        one_molecule("paper", build(estimator, None, "cpu"), 10, tmp_path / f"{run}.json", tmp_path / f"{run}.s.json")
        results.append((tmp_path / f"{run}.json").read_bytes())
    assert results[0] == results[1]
    content = json.loads(results[0])
    truth, found = (torch.tensor(content[name]) for name in ("truth_nm", "found_nm"))
    assert len(truth) == len(found) == 10
    assert (truth - found)[:, :2].norm(dim=1).median() < 60  # drift unknown: 17 nm are possible
    expected = voxel_of(truth, PSF.pixel_size_nm, SCENE).flip(-1)
    assert (torch.tensor(content["truth_voxel"]) - expected).abs().max() <= 1  # of positions rounded to 0.001 nm
    assert json.loads((tmp_path / "a.s.json").read_text())["images"] == 10


def test_an_image_without_an_estimate_counts_as_its_middle(tmp_path):
    one_molecule("paper", Perfect(image_share=0.5), 10, tmp_path / "r.json", tmp_path / "s.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["found_voxel"][4] == content["truth_voxel"][4]
    assert content["found_voxel"][5:] == [[64, 64, 16]] * 5


def test_the_network_names_its_most_probable_voxel(weights):
    network = NetworkEstimator("robust", weights / "robust.safetensors", "cpu")
    test = draw_images(Recipe(), 30, seed=6)
    found = network.locate(test)
    with torch.inference_mode():
        logits = network.network(test.images)
    best = logits.contiguous().flatten(1).argmax(dim=1)
    assert torch.equal(found.voxel, torch.stack(torch.unravel_index(best, (32, 128, 128)), dim=1))
    probability = torch.sigmoid(logits)
    threshold = float(probability.flatten().kthvalue(probability.numel() - 100).values)
    above = network.voxels_above(test, threshold)
    assert torch.equal(torch.cat((above.image[:, None], above.voxel), dim=1), (probability > threshold).nonzero())


def test_weights_of_the_other_network_are_refused_with_both_descriptions(weights):
    with pytest.raises(PlanelocError) as caught:
        NetworkEstimator("nonrobust", weights / "robust.safetensors", "cpu")
    first, *table = str(caught.value).splitlines()
    assert "trained with inter_camera_drift_voxels 2; 0 is asked for" in first
    (line,) = [line for line in table if line.startswith("  ≠")]
    assert "±2 voxels" in line and "±0 voxels" in line


@pytest.mark.parametrize(
    "changes", [{"depth_range_nm": (-1000.0, 1000.0)}, {"photons": (3000.0, 4000.0)}, {"background": (4.0, 5.0)}]
)
def test_networks_that_have_seen_other_scenes_are_refused(weights, tmp_path, changes):
    """What `localize` tolerates, such as more depth than is needed, would be read wrongly here."""
    _, record = load_network(weights / "robust.safetensors")
    scene = replace(SCENE, **changes)
    record = replace(record, scene=scene, architecture=replace(record.architecture, depth_slices=scene.depth_slices))
    save_network(tmp_path / "other.safetensors", record.build(), record)
    with pytest.raises(PlanelocError, match=r"no robust network of the paper(.|\n)*≠"):
        NetworkEstimator("robust", tmp_path / "other.safetensors", "cpu")
    with pytest.raises(PlanelocError, match="no robust network"):
        measure_speed(tmp_path / "other.safetensors", 16, tmp_path / "speed.json", "cpu")


def test_the_finer_position_is_that_of_the_most_probable_voxel(weights):
    """Of two molecules, the one that holds the fullest voxel, not the one with more probability in all."""
    network = NetworkEstimator("robust", weights / "robust.safetensors", "cpu")
    logits = torch.full((1, 32, 128, 128), -20.0)
    logits[0, 10, 40, 50] = 2.0
    logits[0, 20:22, 80:84, 90:94] = -1.0
    peaks = find_peaks(logits, 1e-4)
    assert len(peaks.image) == 2
    voxel = torch.tensor([[10, 40, 50]])
    position = network._sub_voxel(peaks, voxel)
    assert torch.allclose(position, centre_of(voxel, PSF.pixel_size_nm, SCENE).double(), atol=0.5)


def test_weights_are_for_networks_only(weights):
    with pytest.raises(PlanelocError, match="give its --weights"):
        build("robust", None, "cpu")
    with pytest.raises(PlanelocError, match="no network"):
        build("matching_pursuit", weights / "robust.safetensors", "cpu")


def test_sweep_over_density_tells_the_number_only_to_those_who_must_know(tmp_path, weights):
    for name in ("matching_pursuit", "robust"):
        given = weights / "robust.safetensors" if name == "robust" else None
        sweep("density", build(name, given, "cpu"), 10, tmp_path / f"{name}.json")
    points = json.loads((tmp_path / "matching_pursuit.json").read_text())["points"]
    assert [point["value"] for point in points] == [0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0]
    assert all(point["voxel_jaccard"] is None for point in points)
    assert points[0]["jaccard"] > 0.7  # isolated, and their number is known


def test_the_helix_is_where_it_is_drawn(tmp_path, weights):
    points = curve(torch.linspace(0, 1, 9, dtype=torch.float64))
    assert torch.allclose((points[:, :2] - 1536).norm(dim=1), torch.tensor(900.0, dtype=torch.float64))
    assert points[0, 2] == -600 and points[-1, 2] == 600
    helix(NetworkEstimator("robust", weights / "robust.safetensors", "cpu"), 12, tmp_path / "h.json")
    content = json.loads((tmp_path / "h.json").read_text())
    assert [len(frame["truth_nm"]) for frame in content["frames"]] == [3] * 12
    far, near = (torch.tensor(content["frames"][number]["truth_nm"]) for number in content["examples"])
    assert torch.pdist(far).min() >= torch.pdist(near).min()


def test_speed_is_measured_at_doubled_sizes(tmp_path, weights):
    measure_speed(weights / "robust.safetensors", 40, tmp_path / "speed.json", "cpu")
    points = json.loads((tmp_path / "speed.json").read_text())["points"]
    assert [point["size_px"] for point in points] == [16, 32]
    assert all(point["seconds_per_frame"] > 0 for point in points)


def test_bounds_are_ordered_as_what_is_known(tmp_path):
    write_bound(tmp_path / "bound.json", draws=400)
    bound = json.loads((tmp_path / "bound.json").read_text())
    mean = {name: bound["mean"][name]["lateral_nm"] for name in ("known_drift", "discrete_drift", "unknown_drift")}
    shared = {int(count): values["lateral_nm"] for count, values in bound["mean"]["shared_drift"].items()}
    assert mean["known_drift"] < shared[50] < shared[10] < shared[3] < mean["unknown_drift"]
    assert mean["known_drift"] < mean["discrete_drift"] < mean["unknown_drift"]
    near_reference, far_from_it = bound["unknown_drift"]["lateral_nm"][4], bound["unknown_drift"]["lateral_nm"][-1]
    assert near_reference < 0.5 * far_from_it  # plane 0 does not drift
    light = [point["lateral_nm"] for point in bound["photons"]]
    assert light == sorted(light, reverse=True)
