"""Made-up results of the paper's experiments, all files of them: errors of known size, nothing estimated."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

VOXEL_NM = np.array([24.0, 24.0, 50.0])
CORNER_NM = np.array([0.0, 0.0, -800.0])
VOXELS = np.array([128, 128, 32])
IMAGES = 500
TRAINED = {"robust": 300_000, "nonrobust": 130_000}

# mean over depth of the standard deviation along x and y, along z; share of estimates that lie anywhere
SPREAD = {
    "robust": (14.0, 14.0, 0.01),
    "nonrobust": (24.0, 18.0, 0.03),
    "compressed_sensing": (26.0, 22.0, 0.02),
    "matching_pursuit": (24.0, 21.0, 0.02),
    "fit_without_drift": (18.0, 12.0, 0.0),
    "fit_with_drift": (12.6, 11.6, 0.0),
}
SECONDS = {"robust": 6.1, "compressed_sensing": 26.0, "matching_pursuit": 0.52, "fit_with_drift": 9.7}
_SWEEP_VALUES = {
    "drift": [0.0, 12.0, 24.0, 36.0, 48.0, 60.0, 72.0, 100.0],
    "density": [0.2, 0.5, 1.0, 2.0, 3.0, 4.5, 6.0],
    "photons": [500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0],
}
ARCHITECTURE = {
    "planes": 4,
    "depth_slices": 32,
    "channels": [128, 64, 32, 16],
    "first_kernel": 9,
    "first_layers": 1,
    "upsampling_kernel": 6,
    "last_kernel": 3,
}


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def lateral_rise(depth_nm):
    """Errors grow from the reference plane to the last one: 0.45 to 1.55 times the mean."""
    return 0.45 + 1.1 / (1 + np.exp(-np.asarray(depth_nm) / 180))


def one_molecule(seed: int, spread: tuple[float, float, float], centred: bool = False, images: int = IMAGES) -> dict:
    """Truth and estimates; the same truth for one seed, whatever the spread."""
    truth_rng, rng = np.random.default_rng(seed), np.random.default_rng([seed, int(spread[0] * 1000)])
    truth = CORNER_NM + truth_rng.uniform(0, 1, (images, 3)) * VOXELS * VOXEL_NM
    truth_voxel = np.floor((truth - CORNER_NM) / VOXEL_NM)
    if centred:
        truth = CORNER_NM + (truth_voxel + 0.5) * VOXEL_NM
    rise = lateral_rise(truth[:, 2])[:, None]
    sd = np.hstack([spread[0] * rise, spread[0] * rise, np.full((images, 1), spread[1])])
    found = truth + rng.normal(0, 1, (images, 3)) * sd
    astray = rng.uniform(size=images) < spread[2]
    found[astray] = truth[astray] + rng.normal(0, 120, (astray.sum(), 3))
    found = np.clip(found, CORNER_NM, CORNER_NM + VOXELS * VOXEL_NM - 1e-6)
    return {
        "images": images,
        "seed": seed,
        "voxel_nm": VOXEL_NM.tolist(),
        "depth_range_nm": [-800, 800],
        "truth_nm": truth.tolist(),
        "found_nm": found.tolist(),
        "truth_voxel": truth_voxel.astype(int).tolist(),
        "found_voxel": np.floor((found - CORNER_NM) / VOXEL_NM).astype(int).tolist(),
    }


def training_record(images: int, floor: float) -> dict:
    samples = np.arange(10_000, images + 1, 10_000)
    loss = floor + 9 * (samples / 10_000) ** -0.6
    return {
        "decision": "trained",
        "network": {"architecture": ARCHITECTURE, "scene": {}},
        "settings": {"samples": images, "batch": 8, "learning_rate": 0.001, "seed": 1},
        "device": "cpu: AVX512",
        "torch": "2.13.0+cpu",
        "history": [
            {
                "samples": float(n),
                "training_loss": value - 0.2,
                "validation_loss": value,
                "lateral_nm": 1.7 * value + 0.5,
                "axial_nm": 1.3 * value,
            }
            for n, value in zip(samples, loss, strict=True)
        ],
    }


def bound() -> dict:
    depth = np.linspace(-800, 800, 65)
    unknown, known = 10.0 * lateral_rise(depth), 3.8 + 1.0 * np.cos(depth * np.pi / 400) ** 2
    z = 9.0 + 1.2 * np.cos(depth * np.pi / 200)

    def curves(axis):
        return {"x_nm": axis.tolist(), "y_nm": axis.tolist(), "z_nm": z.tolist(), "lateral_nm": (axis * 1.57).tolist()}

    return {
        "depth_nm": depth.tolist(),
        "known_drift": curves(known),
        "unknown_drift": curves(unknown),
        "mean": {
            "known_drift": {"lateral_nm": 6.0, "axial_nm": 9.3},
            "unknown_drift": {"lateral_nm": 15.7, "axial_nm": 9.4},
            "discrete_drift": {"lateral_nm": 14.1, "axial_nm": 9.4},
            "shared_drift": {
                count: {"lateral_nm": lateral, "axial_nm": 9.3}
                for count, lateral in (("3", 10.8), ("10", 7.9), ("50", 6.3))
            },
        },
        "root_mean_square": {
            "known_drift": {"lateral_nm": 7.0, "axial_nm": 13.3},
            "unknown_drift": {"lateral_nm": 19.2, "axial_nm": 13.4},
        },
        "photons": [
            {"value": value, "lateral_nm": 8 + 300 / value**0.5, "axial_nm": 9.4 * math.sqrt(3500 / value)}
            for value in _SWEEP_VALUES["photons"]
        ],
    }


_BLIND = {"nonrobust", "compressed_sensing", "matching_pursuit", "fit_without_drift"}  # to drift


def _sweep_point(name: str, sweep: str, value: float, worst: float) -> dict:
    base, axial, _ = SPREAD[name]
    if sweep == "drift":
        blind = name in _BLIND
        lateral, deep = np.hypot(7 if blind else 14, (0.62 if blind else 0.12) * value), axial * (1 + value / 400)
        jaccard = 1 - 0.1 * value / worst
    elif sweep == "density":
        lateral, deep, jaccard = base * (1 + 0.12 * value), axial * (1 + 0.15 * value), np.exp(-0.09 * value)
    else:
        light = np.sqrt(3500 / value)
        lateral, deep, jaccard = base * 0.7 * np.hypot(1, light), axial * light, 1 - 120 / value
    point = {"value": value, "images": 300, "molecules": round(300 * (value if sweep == "density" else 1))}
    point |= {"voxel_jaccard": None, "rmse_lateral_nm": 1.3 * lateral, "rmse_axial_nm": 1.3 * deep}
    for key, number, width in (("jaccard", jaccard, 0.02), ("lateral", lateral, 1.1), ("axial", deep, 1.0)):
        point |= {f"{key}_low": number - width, f"{key}_high": number + width}
        point[key if key == "jaccard" else f"{key}_nm"] = float(number)
    return point


def write_sweeps(folder: Path) -> None:
    for sweep, values in _SWEEP_VALUES.items():
        for name in SPREAD:
            points = [_sweep_point(name, sweep, value, max(values)) for value in values]
            write_json(folder / sweep / f"{name}.json", _sweep(sweep, name, points))
        if sweep == "drift":  # that against photons stands in bound.json
            limit = [
                {"value": value, "lateral_nm": float(np.hypot(6, 0.3 * min(value, 48))), "axial_nm": 9.4}
                for value in values
            ]
            write_json(folder / sweep / "bound.json", _sweep(sweep, "bound", limit))


def _sweep(sweep: str, name: str, points: list) -> dict:
    return {"sweep": sweep, "estimator": name, "unit": "nm", "points": points}


def helix(frames: int = 300, molecules: int = 3) -> dict:
    rng = np.random.default_rng(5)

    def place(t):
        return np.stack([1536 + 900 * np.cos(4 * np.pi * t), 1536 + 900 * np.sin(4 * np.pi * t), -700 + 1400 * t], -1)

    rows = []
    for _ in range(frames):
        truth = place(rng.uniform(size=molecules))
        peaks = truth[rng.uniform(size=molecules) < 0.9]
        peaks = peaks + rng.normal(0, 1, peaks.shape) * [11, 11, 12]
        found = np.repeat(peaks, 2, axis=0) + rng.normal(0, 1, (2 * len(peaks), 3)) * [12, 12, 18]
        found = CORNER_NM + (np.floor((found - CORNER_NM) / VOXEL_NM) + 0.5) * VOXEL_NM
        rows.append({"truth_nm": truth.tolist(), "found_nm": found.tolist(), "peaks_nm": peaks.tolist()})
    curve = place(np.linspace(0, 1, 400))
    return {"threshold": 0.1, "curve_nm": curve.tolist(), "frames": rows, "examples": [3, 11]}


def variants() -> dict:
    """Real numbers of a short study."""
    table = {
        "basis": ({"upsampling_kernel": 4}, 218_864, 10.8, 18.12, 35.2, 50.7),
        "four first layers": ({"upsampling_kernel": 4, "first_layers": 4}, 662_384, 13.6, 17.29, 27.8, 57.7),
        "upsampling kernel 6": ({}, 433_904, 13.7, 16.78, 31.3, 41.9),
        "last kernel 5": ({"upsampling_kernel": 4, "last_kernel": 5}, 227_056, 13.7, 17.26, 33.9, 45.1),
        "first kernel 15": ({"upsampling_kernel": 4, "first_kernel": 15}, 292_592, 10.9, 18.93, 35.7, 58.5),
        "even channels": ({"upsampling_kernel": 4, "channels": [56] * 4}, 185_504, 26.0, 16.79, 35.0, 38.8),
    }
    return {
        name: {
            "architecture": ARCHITECTURE | change,
            "parameters": parameters,
            "training_images": 8000,
            "milliseconds_per_image": time,
            "validation_loss": loss,
            "lateral_nm": lateral,
            "axial_nm": axial,
        }
        for name, (change, parameters, time, loss, lateral, axial) in table.items()
    }


def write_results(folder: Path) -> None:
    """Every file that the experiments write."""
    for name, images in TRAINED.items():
        write_json(folder / "training" / f"{name}.json", training_record(images, 10.5 if name == "robust" else 12))
    write_json(folder / "architecture.json", variants())
    for data, seed in (("paper", 1), ("voxel_centres", 2), ("additive_noise", 2), ("camera", 3)):
        for name, spread in SPREAD.items():
            wider = (spread[0] * 1.35, spread[1] * 1.2, spread[2]) if data == "camera" else spread
            content = one_molecule(seed, wider, centred=data in ("voxel_centres", "additive_noise"))
            write_json(folder / "one_molecule" / data / f"{name}.json", {"data": data, "estimator": name, **content})
            if name in SECONDS:
                seconds = {"images": IMAGES, "seconds": SECONDS[name], "device": "cpu: AVX512, one thread"}
                write_json(folder / "one_molecule" / data / f"{name}.seconds.json", seconds)
    write_json(folder / "bound.json", bound())
    write_sweeps(folder / "sweeps")
    write_json(folder / "helix" / "robust.json", helix())
    sizes = (16, 32, 64, 128, 256)
    points = [{"size_px": s, "seconds_per_frame": 0.004 + 2.9e-5 * s**2} for s in sizes]
    write_json(folder / "speed.json", {"device": "cpu: AVX512, 2 threads", "precision": "float32", "points": points})


def small_folder(path, *, images=60, trained=300_000, spread=None, estimators=("robust", "compressed_sensing")):
    """As little as draws Fig. 7, Fig. 8 and Table 3."""
    for name in estimators:
        content = one_molecule(1, spread or SPREAD.get(name, (20.0, 20.0, 0.0)), images=images)
        write_json(path / "one_molecule" / "paper" / f"{name}.json", content)
    write_json(path / "training" / "robust.json", training_record(trained, 10.5))
    return path
