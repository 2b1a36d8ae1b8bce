"""Which localizations are linked: against known molecules, and where two explanations compete."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from planeloc.postprocessing.blink_law import BlinkLaw
from planeloc.postprocessing.linking import Links, Localizations, assign, link
from support.blinking_tables import BlinkingTable, blinking_table, true_links

LAGS = 5


def localizations(made: BlinkingTable) -> Localizations:
    table = made.table
    return Localizations(
        table["frame"].to_numpy(), table[["x", "y", "z"]].to_numpy(), table[["x_sd", "y_sd", "z_sd"]].to_numpy()
    )


def found_and_false(links: Links, made: BlinkingTable) -> tuple[float, float]:
    """Fraction of the true links that are found, and of the found links that are false."""
    wanted = true_links(made.blink, made.table["frame"].to_numpy(), LAGS)
    linked = np.flatnonzero(links.previous >= 0)
    false = (made.blink[linked] != made.blink[links.previous[linked]]) | (made.blink[linked] < 0)
    return float((links.previous == wanted)[wanted >= 0].mean()), float(false.mean())


@pytest.mark.parametrize(
    ("structure", "on_frames", "missed", "most_false"),
    [("random", 4.0, 0.0, 0.01), ("random", 10.0, 0.2, 0.02), ("filaments", 4.0, 0.1, 0.03)],
)
def test_known_links_are_found(structure: str, on_frames: float, missed: float, most_false: float) -> None:
    made = blinking_table(2000, structure=structure, on_frames=on_frames, missed=missed, frames=1500)
    links = link(localizations(made), LAGS)
    found, false = found_and_false(links, made)
    assert found > 0.985 and false < most_false
    expected = links.expected_false / (links.previous >= 0).sum()
    assert false / 3 < expected < 3 * false + 0.002


def test_the_law_of_blinking_is_that_of_the_movie() -> None:
    made = blinking_table(6000, on_frames=5.0, missed=0.2, frames=4000, false=0.0)
    law = link(localizations(made), LAGS).law
    goes_on = (1 - 1 / 5.0) * 0.2 ** np.arange(LAGS) * (1 - 1 / 5.0) ** np.arange(LAGS) * 0.8
    assert np.allclose(law.next_lag[:3], goes_on[:3], atol=0.015)
    assert np.allclose(law.scale, 1, atol=0.05)


def test_a_wrongly_stated_precision_is_measured_and_links_nevertheless() -> None:
    made = blinking_table(4000, frames=3000)
    rows = localizations(made)
    links = link(Localizations(rows.frame, rows.position, rows.sd / 2), LAGS)
    assert np.allclose(links.law.scale, 2, rtol=0.06)
    assert found_and_false(links, made)[0] > 0.985


def test_a_precise_localization_is_linked_more_narrowly_than_another() -> None:
    """No radius for all: 40 nm are far for a precise localization, and near for one that is not."""
    made = blinking_table(2000, frames=4000, field_nm=20_000)
    rows = localizations(made)
    frame, far = np.array([0, 1, 0, 1]) + 4100, np.array([30_000.0, 30_000, 0])
    places = far + np.array([[0, 0, 0], [40, 0, 0], [5000, 0, 0], [5040, 0, 0]])
    sd = np.array([[2.0, 2, 5], [2, 2, 5], [15, 15, 35], [15, 15, 35]])
    order = np.argsort(frame, kind="stable")
    more = Localizations(
        np.concatenate([rows.frame, frame[order]]),
        np.concatenate([rows.position, places[order]]),
        np.concatenate([rows.sd, sd[order]]),
    )
    previous = link(more, LAGS).previous[len(rows) :]
    assert (previous >= 0).tolist() == [False, False, False, True]


def test_a_molecule_that_is_always_on_becomes_one() -> None:
    random = np.random.default_rng(0)
    rows = Localizations(np.arange(1000), random.normal(0, [10, 10, 25], (1000, 3)), np.full((1000, 3), [10.0, 10, 25]))
    links = link(rows, LAGS)
    assert (links.previous >= 0).sum() > 990
    assert links.law.next_lag[0] > 0.99


def test_two_neighbours_that_are_on_together_are_kept_apart() -> None:
    random = np.random.default_rng(1)
    frame = np.repeat(np.arange(500), 2)
    place = np.tile([[0.0, 0, 0], [70.0, 0, 0]], (500, 1))
    rows = Localizations(frame, place + random.normal(0, [10, 10, 25], (1000, 3)), np.full((1000, 3), [10.0, 10, 25]))
    origin = link(rows, LAGS).origin()
    longest = [np.bincount(origin[start::2]).max() for start in (0, 1)]
    assert min(longest) > 400


@given(st.integers(0, 10_000))
@hypothesis_settings(max_examples=60, deadline=None)
def test_the_assignment_is_the_best_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    pairs = np.unique(random.integers(0, 7, (random.integers(1, 25), 2)), axis=0)
    gain = random.uniform(0.1, 5, len(pairs))
    chosen = assign(pairs[:, 0], pairs[:, 1], gain)
    assert len(np.unique(pairs[chosen, 0])) == len(np.unique(pairs[chosen, 1])) == len(chosen)
    table = np.zeros((7, 7))
    table[pairs[:, 0], pairs[:, 1]] = gain
    assert np.isclose(gain[chosen].sum(), table[linear_sum_assignment(table, maximize=True)].sum())


def test_lengths_and_counts_of_the_law_are_probabilities() -> None:
    law = BlinkLaw(np.array([0.6, 0.1, 0.05]), 0.8, np.ones(3))
    assert np.isclose(law.lengths(400).sum(), 1) and np.isclose(law.counts(400).sum(), 1)
    assert np.isclose(law.lengths(3)[3], 0.8 * 0.25 * (0.6 * 0.6 + 0.1))
    assert np.isclose(law.counts(3)[1], 1 - 0.8 * 0.75) and np.isclose(law.counts(3)[3], 0.8 * 0.25 * 0.75**2)
    later = [0.6, 0.1 / 0.4, 0.05 / 0.3]
    first = [0.48, 0.08 / 0.52, 0.04 / 0.44]
    assert np.allclose(1 / (1 + np.exp(-law.log_odds())), [first, later])


def test_false_positives_do_not_shorten_the_blinks() -> None:
    made = blinking_table(1500, on_frames=10.0, frames=4000, false=0.1)
    law = link(localizations(made), LAGS).law
    assert np.isclose(law.goes_on, 0.9, atol=0.015)
    single = (made.blink < 0).sum() / ((made.blink < 0).sum() + len(np.unique(made.blink[made.blink >= 0])))
    assert np.isclose(1 - law.lasting, single, atol=0.1)
