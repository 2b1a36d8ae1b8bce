// How well the model of a frame explains the counts around every molecule; planeloc/fitting/goodness_of_fit.py explains
// it and has the same in PyTorch.
#pragma once

#include "frame_model.h"

namespace planeloc {

template <class real>
class GoodnessOfFit {
 public:
  GoodnessOfFit(const Problem &problem, FrameModel<real> &model) : p_(problem), m_(model) {}

  // Write it for all molecules of the frame, whose expectation must be that of `now`.
  void write(const Evaluation &now, double *goodness) {
    const int64_t windows = m_.count_ * p_.planes;
    invert_information(now.equations);
    leverage_.assign(windows * m_.pixels_, real(0));
    for (int64_t window = 0; window < windows; ++window) write_leverage(now, window);
    for (int64_t window = 0; window < windows; ++window)
      m_.on_sensor(window, [&](int64_t in, int64_t on, int64_t n) {
        for (int64_t k = 0; k < n; ++k) m_.sum_[on + k] += leverage_[in + k];
      });
    for (int64_t i = 0; i < m_.count_; ++i) {
      double found = 0, expected = 0;
      for (int64_t plane = 0; plane < p_.planes; ++plane) add_window(now, i, plane, found, expected);
      goodness[i] = expected > 0 ? found / expected : NAN;
    }
    for (int64_t window = 0; window < windows; ++window)
      m_.on_sensor(window, [&](int64_t, int64_t on, int64_t n) { std::fill_n(m_.sum_.begin() + on, n, real(0)); });
  }

 private:
  // Inverse information about every molecule, what the drift does to it, and the covariance of the drift.
  void invert_information(const Equations &e) {
    const int64_t size = m_.size_, drifts = m_.drifts_;
    inverse_.assign(m_.count_ * size * size, 0.0), gain_.assign(m_.count_ * size * drifts, 0.0);
    drift_.resize(drifts * drifts);
    Numbers about = e.about_drift_alone;
    for (int64_t i = 0; i < m_.count_; ++i) {
      double *inverse = inverse_.data() + i * size * size, *gain = gain_.data() + i * size * drifts;
      const double *with = e.with_drift_alone.data() + i * size * drifts;
      invert(e.own.data() + i * size * size, size, inverse, work_);
      for (int64_t r = 0; r < size; ++r)
        for (int64_t k = 0; k < size; ++k)
          for (int64_t c = 0; c < drifts; ++c) gain[r * drifts + c] += inverse[r * size + k] * with[k * drifts + c];
      for (int64_t k = 0; k < size; ++k)
        for (int64_t r = 0; r < drifts; ++r)
          for (int64_t c = 0; c < drifts; ++c) about[r * drifts + c] -= with[k * drifts + r] * gain[k * drifts + c];
    }
    if (drifts) invert(about.data(), drifts, drift_.data(), work_);
  }

  // Covariance of x, y, z, photons and background of a molecule on a plane, drift included.
  void covariance_on_plane(int64_t i, int64_t plane, double *out) {
    const int64_t size = m_.size_, drifts = m_.drifts_;
    auto index = [&](int a) { return a < 4 ? int64_t(a) : 4 + plane; };
    by_drift_.assign((PER_PLANE + 1) * drifts, 0.0);
    double *moved = by_drift_.data() + PER_PLANE * drifts;
    for (int a = 0; a < PER_PLANE; ++a)
      for (int64_t c = 0; c < drifts; ++c)
        by_drift_[a * drifts + c] = double(plane && c == 2 * (plane - 1) + a && a < 2) - gain_[(i * size + index(a)) * drifts + c];
    for (int a = 0; a < PER_PLANE; ++a) {
      std::fill_n(moved, drifts, 0.0);
      for (int64_t k = 0; k < drifts; ++k)
        for (int64_t c = 0; c < drifts; ++c) moved[c] += by_drift_[a * drifts + k] * drift_[k * drifts + c];
      for (int b = 0; b < PER_PLANE; ++b)
        out[a * PER_PLANE + b] =
            inverse_[(i * size + index(a)) * size + index(b)] + dot(moved, by_drift_.data() + b * drifts, drifts);
    }
  }

  // The part of the deviance of the pixels of a window that the fit of its molecule is expected to take.
  void write_leverage(const Evaluation &now, int64_t window) {
    const int64_t i = window / p_.planes, plane = window % p_.planes, pixels = m_.pixels_;
    double covariance[PER_PLANE * PER_PLANE];
    covariance_on_plane(i, plane, covariance);
    real form[PER_PLANE][PER_PLANE];  // of the derivatives on the plane; twice above the diagonal
    const double *a = m_.axes(i, plane);
    double factor[PER_PLANE], turned[PER_PLANE][PER_PLANE];
    for (int k = 0; k < PER_PLANE; ++k) factor[k] = m_.factor(now.at, i, plane, k);
    auto turn = [&](const double *from, int64_t step, double *to, int64_t to_step) {
      const double x = from[0] * factor[0], y = from[step] * factor[1];
      to[0] = x * a[0] + y * a[1], to[to_step] = x * a[2] + y * a[3];
      for (int k = 2; k < PER_PLANE; ++k) to[k * to_step] = from[k * step] * factor[k];
    };
    for (int r = 0; r < PER_PLANE; ++r) turn(covariance + r * PER_PLANE, 1, turned[r], 1);
    for (int c = 0; c < PER_PLANE; ++c) {
      double column[PER_PLANE];
      turn(&turned[0][c], PER_PLANE, column, 1);
      for (int r = 0; r <= c; ++r) form[r][c] = real(r < c ? 2 * column[r] : column[r]);
    }
    const real *rows = m_.rows_.data() + window * PER_PLANE * pixels, *weight = m_.weight_.data() + window * pixels;
    real *out = leverage_.data() + window * pixels;
    for (int64_t k = 0; k < pixels; ++k) {
      real sum = 0;
      for (int r = 0; r < PER_PLANE; ++r) {
        real of_row = 0;
        for (int c = r; c < PER_PLANE; ++c) of_row += form[r][c] * rows[c * pixels + k];
        sum += of_row * rows[r * pixels + k];
      }
      sum *= weight[k];
      out[k] = sum > 0 ? std::min(sum, real(1)) : real(0);  // 0 where it is not a number, too
    }
  }

  // Deviance of a window and its expectation, by the molecule's share of the variance of each pixel.
  void add_window(const Evaluation &now, int64_t i, int64_t plane, double &found, double &expected) {
    const int64_t window = i * p_.planes + plane, pixels = m_.pixels_, start = window * pixels;
    real *taken = leverage_.data() + start;
    m_.on_sensor(window, [&](int64_t in, int64_t on, int64_t n) { std::copy_n(m_.sum_.begin() + on, n, leverage_.begin() + in); });
    const real *unit = m_.rows_.data() + (window * PER_PLANE + 3) * pixels;
    const real *weight = m_.weight_.data() + start, *level = m_.expected_.data() + start, *photons = m_.photons_.data() + start;
    const real slope = real(p_.slope[plane]), shift = real(p_.read_variance[plane] / p_.slope[plane]);
    const real light = real(now.at.molecules[i * m_.size_ + 3] * p_.brightness[plane]);
    const real *table = static_cast<const real *>(p_.expected_deviance) + plane * p_.deviance_knots;
    const real least = real(p_.deviance_least_photons), per_log = real(p_.deviance_knots_per_log);
    const real last = real(p_.deviance_knots) - real(1.5);
    real found_in[PIXEL_BLOCK] = {}, expected_in[PIXEL_BLOCK] = {};
    for (int64_t block = 0; block < pixels; block += PIXEL_BLOCK)
      for (int64_t n = 0; n < PIXEL_BLOCK; ++n) {
        const int64_t k = block + n;
        const real share = std::max(light * unit[k], real(0)) * weight[k] * slope;
        const real mean = std::max(level[k] + shift, real(1e-6)) / slope;
        const real seen = std::max(photons[k] + shift, real(0)) / slope;
        const real deviance = 2 * (mean - seen - seen * logarithm(mean / (seen > 0 ? seen : mean)));
        const real place = logarithm((level[k] > least ? level[k] : least) / least) * per_log;  // also if not a number
        const int32_t knot = int32_t(std::min(place, last));
        const real within = std::min(place - real(knot), real(1));
        const real of_pixel = table[knot] + within * (table[knot + 1] - table[knot]);
        found_in[n] += share * deviance;
        expected_in[n] += share * std::max(of_pixel - taken[k], real(0));
      }
    for (int n = 0; n < PIXEL_BLOCK; ++n) found += double(found_in[n]), expected += double(expected_in[n]);
  }

  const Problem &p_;
  FrameModel<real> &m_;
  std::vector<real> leverage_;  // (count, planes, pixels_)
  Numbers inverse_, gain_, drift_;  // (count, size, size), (count, size, drifts), (drifts, drifts)
  Numbers by_drift_, work_;
};

}  // namespace planeloc
