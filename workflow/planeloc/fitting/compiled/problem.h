// What Python and C++ exchange: plain structs of numbers and of pointers to arrays in C order, `real` being float or
// double. planeloc/fitting/compiled_fit.py has the same structs, field by field; every field has eight bytes.
#pragma once

#include <cstdint>

namespace planeloc {

struct Problem {
  // Images
  int64_t frames, planes, rows, columns;
  const void *images;      // (frames, planes, rows, columns) real, photons above the background
  const void *background;  // (planes, rows, columns) real
  const double *ceiling;   // (planes) photons from which on a pixel is saturated
  // Molecules before the fit
  int64_t molecules;
  const int64_t *frame;     // (molecules) ascending
  const double *position;   // (molecules, 3) nm
  const double *photons;    // (molecules)
  const double *mapped_px;  // (molecules, planes, 2)
  const double *axes;       // (molecules, planes, 2, 2)
  // Noise: variance = slope · expected + read variance
  const double *slope, *read_variance;  // (planes)
  double darkest_photons;
  const double *drift_sd_nm;  // (planes - 1)
  // Point spread function: a Gaussian with a defocus curve
  const double *depths_nm, *brightness;  // (planes)
  double pixel_nm, waist_nm, focus_depth_nm, asymmetry, quartic, least_shape;
  int64_t pixel_integration;
  // and a cubic spline that is added to it; axial_knots is 0 without
  const void *coefficients;  // (sets, axial_knots, lateral_knots, lateral_knots) real
  const int64_t *sets;       // (planes)
  int64_t set_count, axial_knots, lateral_knots, knots_per_pixel;
  double lateral_nm, axial_nm, first_nm;
  // Windows and pairs
  int64_t side;
  // Expected deviance of a pixel, at mean photons evenly spaced in their logarithm
  const void *expected_deviance;  // (planes, deviance_knots) real
  int64_t deviance_knots;
  double deviance_least_photons, deviance_knots_per_log;
  int64_t pair_count;
  const int64_t *pairs;  // (pair_count, 2), ascending
  // Priors
  double wide_nm, wide_photons, least_drift_sd_nm;
  // Iterations
  int64_t iterations, coupling_steps, solver_iterations;
  double solver_tolerance, first_damping, hold, hold_damping, largest_step_px, largest_step_z_nm;
  double farthest_px, farthest_z_nm, least_photons, small_step, unfinished;
  double least_damping, largest_damping, damping_increase, damping_decrease, damping_of_rejected;
  double cost_tolerance, largest_loss, largest_gain;
  // Covariance
  double least_remaining;
};

struct Result {
  double *unknowns;            // (molecules, 4 + planes): x, y, z, photons, background of every plane
  double *drift;               // (frames, 2 · (planes - 1))
  double *cost;                // (frames) minus twice the logarithm of the posterior
  double *deviance, *pixels;   // (molecules) deviance of the window, and number of pixels that were fitted
  double *goodness;            // (molecules) deviance around the molecule over its expectation
  uint8_t *held;               // (molecules)
  double *own;                 // (molecules, 4 + planes, 4 + planes) information, priors included
  double *between;             // (pair_count, 4 + planes, 4 + planes)
  double *moved;               // (molecules, 4 + planes, 2 · (planes - 1)) with the drift, with what overlaps add
  double *gradient;            // (molecules, 4 + planes) of the posterior
  double *drift_gradient;      // (molecules, 2 · (planes - 1)) each molecule's part of that of the likelihood
  double *covariance;          // (molecules, 4 + planes, 4 + planes)
  double *of_known_drift;      // (molecules, 4 + planes, 4 + planes) covariance with the drift known
  void *residual, *weight;     // (molecules, planes, side, side) real
};

// Windows around single emitters, with the planes, noise and point spread function of a `Problem`.
struct EmitterWindows {
  int64_t count;
  const double *photons, *use;  // (count, planes, side, side)
  const double *shifts_nm;      // (count, planes, 2)
  const double *axes;           // (planes, 2, 2)
  const double *start;          // (count, 4) x, y, z, photons
  int64_t iterations;
  double first_damping, decrease, increase, least_damping, tolerance, hopeless;
  double largest_step_px, largest_step_z_nm, largest_loss, largest_gain, close_enough;
};

struct EmitterResult {
  double *parameters;   // (count, 4 + planes) with the background of every plane
  double *information;  // (count, 4, 4) with the backgrounds eliminated
  double *left, *contrast, *squares;  // (count) sums that `single_emitter._result` explains
  uint8_t *converged;   // (count)
};

}  // namespace planeloc
