"""Faults of the cameras drawn at random: no verdict is wrong while all checks pass.

``PLANELOC_EXAMPLES=200 pytest tests/registration/test_random_faults.py`` draws more of them.
"""

import os
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from planeloc.registration.displacement_quality import displacement_checks, displacement_values
from planeloc.registration.movie_displacement import measure_displacements
from planeloc.registration.settings import UpdateRegistrationSettings
from planeloc.registration.update_registration import is_displaced
from planeloc.synchronization.quality import dark_checks, dark_values, lag_checks, lag_values
from planeloc.synchronization.settings import SynchronizeSettings
from planeloc.synchronization.synchronize import camera_frames, look
from support.shared_light import Recorded, blinking_counts, out_of_step, transforms

EXAMPLES = int(os.environ.get("PLANELOC_EXAMPLES", "4"))
IN_STEP, IN_PLACE = SynchronizeSettings(), UpdateRegistrationSettings()
MOST_WRONG = 10  # moments about a slip, whose frame the light of a few molecules shows late


def faulty(planes, molecules, on, photons, plane, lag, slip, at, shift, dark_from, seed) -> Recorded:
    """A movie in which one camera has all of the faults."""
    counts = blinking_counts(300, planes, molecules, photons, on, seed)
    changes = [("lag", lag, 0), *([(slip, at, 1)] if slip else [])]
    movie = out_of_step(counts, {plane: changes})
    counts = movie.counts.copy()
    counts[:, plane] = np.roll(counts[:, plane], shift, axis=(1, 2))
    noise = np.random.default_rng(seed).normal(100, 2, counts[dark_from:, plane].shape)
    counts[dark_from:, plane] = noise.round().astype(np.uint16)
    return replace(movie, counts=counts)


def in_step(movie: Recorded, frames) -> Recorded:
    used = frames.of(0, movie.frames)
    put = replace(movie, counts=np.stack([movie.counts[own, p] for p, own in enumerate(used)], axis=1))
    put.camera_frames = frames
    return put


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    planes=st.integers(2, 8),
    molecules=st.sampled_from([1.0, 4.0, 12.0]),
    on=st.sampled_from([1.0, 4.0, 30.0]),
    photons=st.sampled_from([400.0, 1500.0, 5000.0]),
    plane=st.integers(1, 7),
    lag=st.integers(-3, 3),
    slip=st.sampled_from(["lost", "repeated", None]),
    at=st.integers(60, 200),
    shift=st.tuples(st.integers(-14, 14), st.integers(-14, 14)),
    dark_from=st.sampled_from([150, 230, 260, 260]),
    seed=st.integers(0, 1000),
)
def test_no_verdict_is_wrong_with_all_checks_passing(planes, plane, shift, dark_from, **drawn):
    plane = min(plane, planes - 1)
    movie = faulty(planes, plane=plane, shift=shift, dark_from=dark_from, **drawn)
    registration, cameras = transforms(planes), movie.microscope.cameras
    looked = look(movie, registration, IN_STEP)
    frames = camera_frames(movie, looked, IN_STEP)
    values = lag_values(frames, looked.measured) | dark_values(looked.dark, movie.frames)
    checks = lag_checks(values, frames, cameras, IN_STEP)
    told = {check.name for check in checks if "cannot tell" in check.advice and check.verdict != "pass"}
    dark = [check for check in dark_checks(values, looked.dark, cameras, IN_STEP) if check.verdict != "pass"]
    if not told:  # every lag is said to be known
        used = frames.of(0, movie.frames)
        shown = np.stack([own[row] for own, row in zip(movie.moments, used, strict=True)])
        wrong = (shown != shown[0]).any(axis=0) & frames.whole(np.arange(movie.frames))
        wrong[dark_from - 4 :] = False  # of a dark camera, no frame shows anything
        assert np.count_nonzero(wrong) <= MOST_WRONG
    assert {check.name for check in dark} <= {f"camera_{plane}_dark_fraction"}
    found = measure_displacements(in_step(movie, frames), registration)
    updated = [is_displaced(own, movie.shape[2:], IN_PLACE) for own in found]
    of_place = displacement_checks(displacement_values(found, movie.shape[2:]), updated, None, cameras, IN_PLACE)
    unknown = {check.name for check in of_place if "cannot tell" in check.advice and check.verdict != "pass"}
    for other in range(1, planes):
        if told or f"camera_{other}_registration_significance" in unknown:
            continue
        down, right = shift if other == plane else (0, 0)
        expected = np.array([-right if plane % 2 else right, down])
        assert np.abs(found[other].shift_px - expected).max() < IN_PLACE.displacement_px
        assert updated[other] == (np.hypot(*expected) > IN_PLACE.displacement_px)
