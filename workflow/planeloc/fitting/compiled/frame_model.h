// Forward model of all molecules of one frame: their images, the posterior and the normal equations of a step.
// planeloc/fitting/frame_model.py explains it and has the same in PyTorch.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "normal_equations.h"
#include "unit_images.h"
#include "window_sums.h"

namespace planeloc {

// The posterior at some values of the unknowns.
struct Evaluation {
  Unknowns at;
  Equations equations;
  double cost = 0;  // minus twice the logarithm of the posterior
  Numbers deviance;  // of every window
};

template <class real>
class GoodnessOfFit;

template <class real>
class FrameModel {
  friend class GoodnessOfFit<real>;

 public:
  FrameModel(const Problem &problem)
      : p_(problem),
        pixels_(padded(problem.side * problem.side + overhang(problem.side))),
        size_(4 + problem.planes),
        drifts_(2 * (problem.planes - 1)),
        images_(unit_images<real>(problem)),
        sum_(problem.planes * problem.rows * problem.columns + LANES),
        windows_on_(sum_.size()) {}

  int64_t size() const { return size_; }
  int64_t drifts() const { return drifts_; }
  int64_t count() const { return count_; }
  const Unknowns &start() const { return start_; }
  const int64_t *pairs() const { return pairs_.data(); }
  double used_pixels(int64_t molecule) const { return used_[molecule]; }

  // Cut the windows of molecules [first, first + count), all of one frame, with pairs [first_pair, …).
  void set_frame(int64_t frame, int64_t first, int64_t count, int64_t first_pair, int64_t pair_count) {
    first_ = first, count_ = count;
    const int64_t all = count * p_.planes;
    for (auto *values : {&photons_, &background_, &use_, &share_, &expected_, &weight_}) values->assign(all * pixels_, real(0));
    rows_.resize(all * PER_PLANE * pixels_);
    for (int64_t row = 0; row < all * PER_PLANE; ++row)  // behind the image: what is multiplied by no weight is a number
      std::fill_n(rows_.begin() + row * pixels_ + p_.side * p_.side, pixels_ - p_.side * p_.side, real(0));
    corner_.resize(all * 2);
    used_.assign(count, 0.0);
    pairs_.resize(2 * pair_count);
    for (int64_t k = 0; k < 2 * pair_count; ++k) pairs_[k] = p_.pairs[2 * first_pair + k] - first;
    coupling_.assign(pair_count * p_.planes * PER_PLANE * PER_PLANE, 0.0);
    products_.resize(all * PER_PLANE * (PER_PLANE + 1)), deviances_.resize(2 * all);
    evaluated_ = false;
    for (int64_t window = 0; window < all; ++window) cut(frame, window);
    share_pixels();
    find_neighbours();
    set_priors();
  }

  // Evaluate the posterior; without `update_coupling` what pairs share is that of the last time. Windows in which
  // nothing changed since the last evaluation keep what was found then.
  void evaluate(const Unknowns &at, bool update_coupling, Evaluation &out) {
    find_changes(at);
    out.at = at;
    out.equations.clear(count_, size_, drifts_, int64_t(pairs_.size()) / 2);
    out.deviance.assign(count_, 0.0);
    out.cost = 0;
    for (int64_t k = 0; k < drifts_; ++k) out.cost += drift_precision_[k] * at.drift[k] * at.drift[k];
    // One plane after the other: its windows and the coefficients of its PSF stay in the second-level cache.
    for (int64_t plane = 0; plane < p_.planes; ++plane) {
      expect(at, plane);
      for (int64_t i = 0; i < count_; ++i) add_window(i, plane, out);
      for (int64_t k = 0; update_coupling && k < int64_t(pairs_.size()) / 2; ++k) couple(k, plane);
    }
    add_couplings(at, out.equations);
    add_priors(at, out);
  }

  // Write what the model leaves, and inverse variances, of every window without its padding.
  void write_residuals(const Unknowns &at, real *residual, real *weight) {
    find_changes(at);
    for (int64_t plane = 0; plane < p_.planes; ++plane) expect(at, plane);
    for (int64_t window = 0; window < count_ * p_.planes; ++window)
      for (int64_t from = window * pixels_; from < window * pixels_ + p_.side * p_.side; ++from) {
        *residual++ = photons_[from] - expected_[from];
        *weight++ = weight_[from];
      }
  }

 private:
  using Chunk = Row<real, 1>;
  using Lanes = typename Chunk::Lanes;

  void cut(int64_t frame, int64_t window) {
    const int64_t plane = window % p_.planes, field = p_.rows * p_.columns, molecule = window / p_.planes;
    const real *image = static_cast<const real *>(p_.images) + (frame * p_.planes + plane) * field;
    const real *level = static_cast<const real *>(p_.background) + plane * field, ceiling = real(p_.ceiling[plane]);
    const double *mapped = p_.mapped_px + 2 * (first_ * p_.planes + window);
    for (int axis = 0; axis < 2; ++axis) corner_[2 * window + axis] = int64_t(std::floor(mapped[axis])) - p_.side / 2;
    double used = 0;
    for (int64_t r = 0; r < p_.side; ++r)
      for (int64_t c = 0; c < p_.side; ++c) {
        const int64_t y = corner_[2 * window + 1] + r, x = corner_[2 * window] + c, to = window * pixels_ + r * p_.side + c;
        const bool inside = y >= 0 && y < p_.rows && x >= 0 && x < p_.columns;
        const int64_t from = std::clamp<int64_t>(y, 0, p_.rows - 1) * p_.columns + std::clamp<int64_t>(x, 0, p_.columns - 1);
        const real photons = image[from] + level[from];
        const bool finite = std::isfinite(photons);
        background_[to] = level[from];
        photons_[to] = finite ? photons : level[from];
        use_[to] = inside && finite && photons < ceiling;
        used += double(use_[to]);
      }
    used_[molecule] += used;
  }

  // Call `each(first pixel in the window, first pixel in the field, pixels)` for the rows of a window on the sensor.
  template <class Each>
  void on_sensor(int64_t window, Each each) const {
    const int64_t plane = window % p_.planes, x = corner_[2 * window], y = corner_[2 * window + 1];
    const int64_t left = std::max<int64_t>(0, -x), right = std::min(p_.side, p_.columns - x);
    if (right <= left) return;
    for (int64_t r = std::max<int64_t>(0, -y); r < std::min(p_.side, p_.rows - y); ++r)
      each(window * pixels_ + r * p_.side + left, (plane * p_.rows + y + r) * p_.columns + x + left, right - left);
  }

  // One over the number of windows that contain a pixel.
  void share_pixels() {
    const int64_t all = count_ * p_.planes;
    for (int64_t window = 0; window < all; ++window)
      on_sensor(window, [&](int64_t, int64_t on, int64_t n) { for (int64_t i = 0; i < n; ++i) windows_on_[on + i] += 1; });
    for (int64_t window = 0; window < all; ++window)
      on_sensor(window, [&](int64_t in, int64_t on, int64_t n) {
        for (int64_t i = 0; i < n; ++i) share_[in + i] = 1 / windows_on_[on + i];
      });
    for (int64_t window = 0; window < all; ++window)
      on_sensor(window, [&](int64_t, int64_t on, int64_t n) { std::fill_n(windows_on_.begin() + on, n, real(0)); });
  }

  void set_priors() {
    start_.resize(count_ * size_, drifts_), precision_.assign(count_ * size_, 0.0), drift_precision_.assign(drifts_, 0.0);
    for (int64_t i = 0; i < count_; ++i) {
      double *start = start_.molecules.data() + i * size_, *precision = precision_.data() + i * size_;
      const double photons = p_.photons[first_ + i];
      for (int axis = 0; axis < 3; ++axis) start[axis] = p_.position[3 * (first_ + i) + axis];
      start[3] = photons;
      for (int axis = 0; axis < 3; ++axis) precision[axis] = 1 / (p_.wide_nm * p_.wide_nm);
      precision[3] = 1 / (p_.wide_photons * photons * p_.wide_photons * photons);
      for (int64_t plane = 0; plane < p_.planes; ++plane) {  // the background is as uncertain as it is large
        double sum = 0;
        const real *level = background_.data() + (i * p_.planes + plane) * pixels_;
        for (int64_t k = 0; k < pixels_; ++k) sum += double(level[k]);
        const double deviation = std::max(sum / double(p_.side * p_.side), 0.0) + 1;
        precision[4 + plane] = 1 / (deviation * deviation);
      }
    }
    for (int64_t k = 0; k < drifts_; ++k) {
      const double deviation = std::max(p_.drift_sd_nm[k / 2], p_.least_drift_sd_nm);
      drift_precision_[k] = 1 / (deviation * deviation);
    }
  }

  const double *axes(int64_t molecule, int64_t plane) const {
    return p_.axes + 4 * ((first_ + molecule) * p_.planes + plane);
  }

  // Molecules whose windows overlap on any plane, each its own neighbour.
  void find_neighbours() {
    neighbours_.clear(), first_neighbour_.assign(1, 0);
    for (int64_t i = 0; i < count_; ++i) {
      for (int64_t j = 0; j < count_; ++j) {
        bool overlap = false;
        for (int64_t plane = 0; plane < p_.planes && !overlap; ++plane) {
          const int64_t *a = corner_.data() + 2 * (i * p_.planes + plane), *b = corner_.data() + 2 * (j * p_.planes + plane);
          overlap = std::abs(a[0] - b[0]) < p_.side && std::abs(a[1] - b[1]) < p_.side;
        }
        if (overlap) neighbours_.push_back(j);
      }
      first_neighbour_.push_back(int64_t(neighbours_.size()));
    }
  }

  // Which molecules move, and whose windows change, since the last evaluation.
  void find_changes(const Unknowns &at) {
    moves_.assign(count_, 0), touched_.assign(count_, 0), drifts_now_ = !evaluated_, changes_ = false;
    for (int64_t k = 0; k < drifts_ && !drifts_now_; ++k) drifts_now_ = at.drift[k] != last_.drift[k];
    for (int64_t i = 0; i < count_; ++i) {
      const double *now = at.molecules.data() + i * size_, *before = evaluated_ ? last_.molecules.data() + i * size_ : nullptr;
      moves_[i] = !before || !std::equal(now, now + 3, before);
      if (!moves_[i] && !drifts_now_ && std::equal(now + 3, now + size_, before + 3)) continue;
      changes_ = true;
      for (int64_t k = first_neighbour_[i]; k < first_neighbour_[i + 1]; ++k) touched_[neighbours_[k]] = 1;
    }
    last_ = at, evaluated_ = true;
  }

  // Images of one photon, derivatives, and the expectation and weight of all pixels of a plane, where they change.
  void expect(const Unknowns &at, int64_t plane) {
    if (!changes_) return;
    for (int64_t i = 0; i < count_; ++i)
      if (moves_[i] || (plane && drifts_now_)) image_window(at, i, plane);
    for (int64_t i = 0; i < count_; ++i) add_to_sum(at, i, plane);
    for (int64_t i = 0; i < count_; ++i)
      if (touched_[i]) expect_window(i * p_.planes + plane);
    const Lanes zero = {};
    for (int64_t i = 0; i < count_; ++i)
      on_sensor(i * p_.planes + plane, [&](int64_t, int64_t on, int64_t n) {
        for (int64_t k = 0; k < n; k += LANES) std::memcpy(sum_.data() + on + k, &zero, sizeof zero);
      });
  }

  // Light of a molecule onto its pixels. Rows are added in whole vectors, with nothing beyond the window.
  void add_to_sum(const Unknowns &at, int64_t i, int64_t plane) {
    const int64_t window = i * p_.planes + plane, start = window * pixels_;
    const double *molecule = at.molecules.data() + i * size_;
    const real photons = real(molecule[3] * p_.brightness[plane]), level = real(molecule[4 + plane]);
    const real *unit = rows_.data() + (window * PER_PLANE + 3) * pixels_, *share = share_.data() + start;
    on_sensor(window, [&](int64_t in, int64_t on, int64_t n) {
      for (int64_t k = 0; k < n; k += LANES) {
        Lanes image, part, sum;
        Chunk::load(unit + in - start + k, image), Chunk::load(share + in - start + k, part), Chunk::load(sum_.data() + on + k, sum);
        Lanes light = photons * image + level * part;
        if (n - k < LANES) lanes_.keep(n - k, light);
        sum += light;
        std::memcpy(sum_.data() + on + k, &sum, sizeof sum);
      }
    });
  }

  void expect_window(int64_t window) {
    const int64_t plane = window % p_.planes;
    real *expected = expected_.data() + window * pixels_, *weight = weight_.data() + window * pixels_;
    const real *level = background_.data() + window * pixels_, *use = use_.data() + window * pixels_;
    std::copy_n(level, pixels_, expected);
    on_sensor(window, [&](int64_t in, int64_t on, int64_t n) {
      for (int64_t k = 0; k < n; k += LANES) {
        Lanes value, sum;
        Chunk::load(expected_.data() + in + k, value), Chunk::load(sum_.data() + on + k, sum);
        if (n - k < LANES) lanes_.keep(n - k, sum);
        value += sum;
        std::memcpy(expected_.data() + in + k, &value, sizeof value);
      }
    });
    const real slope = real(p_.slope[plane]), read = real(p_.read_variance[plane]), darkest = real(p_.darkest_photons);
    for (int64_t k = 0; k < pixels_; ++k) weight[k] = use[k] / (slope * std::max(expected[k], darkest) + read);
  }

  void image_window(const Unknowns &at, int64_t i, int64_t plane) {
    const int64_t window = i * p_.planes + plane;
    const double *molecule = at.molecules.data() + i * size_, *a = axes(i, plane);
    const double *origin = p_.position + 3 * (first_ + i), *mapped = p_.mapped_px + 2 * (first_ * p_.planes + window);
    double moved[2] = {molecule[0] - origin[0], molecule[1] - origin[1]}, place[2];
    for (int axis = 0; axis < 2 && plane; ++axis) moved[axis] += at.drift[2 * (plane - 1) + axis];
    for (int axis = 0; axis < 2; ++axis)
      place[axis] = (mapped[axis] - double(corner_[2 * window + axis])) * p_.pixel_nm + a[2 * axis] * moved[0] +
                    a[2 * axis + 1] * moved[1];
    real *rows = rows_.data() + window * PER_PLANE * pixels_;
    images_->write(plane, real(place[0]), real(place[1]), real(p_.depths_nm[plane] - molecule[2]), rows + 3 * pixels_, rows,
                  rows + pixels_, rows + 2 * pixels_);
    std::copy_n(share_.data() + window * pixels_, pixels_, rows + 4 * pixels_);
  }

  // Deviance of a window, and its information and gradient.
  void add_window(int64_t i, int64_t plane, Evaluation &out) {
    const int64_t window = i * p_.planes + plane;
    const real *rows = rows_.data() + window * PER_PLANE * pixels_;
    double *products = products_.data() + window * PER_PLANE * (PER_PLANE + 1);
    if (touched_[i]) {
      measure_deviance(window, plane);
      real sums[PER_PLANE][PER_PLANE + 1] = {};
      weighted_products<0>(rows, weight_.data() + window * pixels_, photons_.data() + window * pixels_,
                           expected_.data() + window * pixels_, pixels_, sums);
      for (int a = 0; a < PER_PLANE; ++a)
        for (int b = 0; b <= PER_PLANE; ++b) products[a * (PER_PLANE + 1) + b] = double(b < a ? sums[b][a] : sums[a][b]);
    }
    out.deviance[i] += deviances_[2 * window], out.cost += deviances_[2 * window + 1];
    double turned[PER_PLANE * (PER_PLANE + 1)];
    to_reference(products, PER_PLANE + 1, axes(i, plane), out.at, i, plane, turned);
    double blocks[PER_PLANE * PER_PLANE];
    to_reference_columns(turned, PER_PLANE + 1, axes(i, plane), out.at, i, plane, blocks);
    place_block(blocks, plane, out.equations.own.data() + i * size_ * size_);
    double *gradient = out.equations.gradient.molecules.data() + i * size_;
    for (int a = 0; a < 4; ++a) gradient[a] += turned[a * (PER_PLANE + 1) + PER_PLANE];
    gradient[4 + plane] += turned[4 * (PER_PLANE + 1) + PER_PLANE];
    if (!plane) return;
    const int64_t column = 2 * (plane - 1);
    for (int axis = 0; axis < 2; ++axis) {
      const double of_drift = turned[axis * (PER_PLANE + 1) + PER_PLANE];
      out.equations.gradient.drift[column + axis] += of_drift;
      out.equations.drift_gradient[i * drifts_ + column + axis] += of_drift;
    }
    add_moving(blocks, false, i, plane, out.equations.with_drift, out.equations.about_drift);
    add_moving(blocks, false, i, plane, out.equations.with_drift_alone, out.equations.about_drift_alone);
  }

  // Deviance of a window, and by its share of every pixel.
  void measure_deviance(int64_t window, int64_t plane) {
    const int64_t start = window * pixels_;
    const real slope = real(p_.slope[plane]), shift = real(p_.read_variance[plane] / p_.slope[plane]);
    real whole[PIXEL_BLOCK] = {}, own[PIXEL_BLOCK] = {};
    for (int64_t block = start; block < start + pixels_; block += PIXEL_BLOCK)
      for (int64_t k = 0; k < PIXEL_BLOCK; ++k) {
        const real mean = std::max(expected_[block + k] + shift, real(1e-6)) / slope;
        const real seen = std::max(photons_[block + k] + shift, real(0)) / slope;
        const real ratio = mean / (seen > 0 ? seen : mean);
        const real deviance = use_[block + k] * 2 * (mean - seen - seen * logarithm(ratio));
        whole[k] += deviance;
        own[k] += deviance * share_[block + k];
      }
    double *sums = deviances_.data() + 2 * window;
    sums[0] = sums[1] = 0;
    for (int k = 0; k < PIXEL_BLOCK; ++k) sums[0] += double(whole[k]), sums[1] += double(own[k]);
  }

  double factor(const Unknowns &at, int64_t i, int64_t plane, int row) const {
    const double photons = at.molecules[i * size_ + 3] * p_.brightness[plane];
    return row == 2 ? -photons : row < 2 ? photons : row == 3 ? p_.brightness[plane] : 1.0;  // defocus = depth − z
  }

  // Rows of `products` (5, columns) from a camera's axes to the reference camera's, times what derivatives lack.
  void to_reference(const double *products, int64_t columns, const double *a, const Unknowns &at, int64_t i, int64_t plane,
                    double *out) const {
    for (int64_t c = 0; c < columns; ++c) {
      const double x = products[c], y = products[columns + c];
      out[c] = factor(at, i, plane, 0) * (a[0] * x + a[2] * y);
      out[columns + c] = factor(at, i, plane, 1) * (a[1] * x + a[3] * y);
      for (int row = 2; row < PER_PLANE; ++row) out[row * columns + c] = factor(at, i, plane, row) * products[row * columns + c];
    }
  }

  // The same of the first five columns; (5, columns) → (5, 5).
  void to_reference_columns(const double *products, int64_t columns, const double *a, const Unknowns &at, int64_t i,
                            int64_t plane, double *out) const {
    for (int row = 0; row < PER_PLANE; ++row) {
      const double *from = products + row * columns;
      double *to = out + row * PER_PLANE;
      to[0] = factor(at, i, plane, 0) * (from[0] * a[0] + from[1] * a[2]);
      to[1] = factor(at, i, plane, 1) * (from[0] * a[1] + from[1] * a[3]);
      for (int c = 2; c < PER_PLANE; ++c) to[c] = factor(at, i, plane, c) * from[c];
    }
  }

  // Add a plane's (5, 5) to (4 + planes, 4 + planes): each plane has a background of its own.
  void place_block(const double *block, int64_t plane, double *whole) const {
    auto index = [&](int k) { return k < 4 ? int64_t(k) : 4 + plane; };
    for (int a = 0; a < PER_PLANE; ++a)
      for (int b = 0; b < PER_PLANE; ++b) whole[index(a) * size_ + index(b)] += block[a * PER_PLANE + b];
  }

  // Add what the drift of a plane does to a molecule: columns x and y of a block, or rows if `transposed`.
  void add_moving(const double *block, bool transposed, int64_t i, int64_t plane, Numbers &with_drift, Numbers &about_drift) const {
    const int64_t column = 2 * (plane - 1);
    double *of_molecule = with_drift.data() + i * size_ * drifts_;
    for (int row = 0; row < PER_PLANE; ++row)
      for (int axis = 0; axis < 2; ++axis) {
        const double value = transposed ? block[axis * PER_PLANE + row] : block[row * PER_PLANE + axis];
        of_molecule[(row < 4 ? row : 4 + plane) * drifts_ + column + axis] += value;
        if (row < 2) about_drift[(column + row) * drifts_ + column + axis] += value;
      }
  }

  // Information between the molecules of a pair on one plane, from the pixels that both windows contain.
  void couple(int64_t pair, int64_t plane) {
    const int64_t one = pairs_[2 * pair] * p_.planes + plane, two = pairs_[2 * pair + 1] * p_.planes + plane;
    const int64_t x = corner_[2 * one] - corner_[2 * two], y = corner_[2 * one + 1] - corner_[2 * two + 1];
    const int64_t left = std::max<int64_t>(0, -x), right = std::min(p_.side, p_.side - x);
    const int64_t top = std::max<int64_t>(0, -y), bottom = std::min(p_.side, p_.side - y);
    double *sums = coupling_.data() + (pair * p_.planes + plane) * PER_PLANE * PER_PLANE;
    std::fill_n(sums, PER_PLANE * PER_PLANE, 0.0);
    if (right <= left || bottom <= top) return;
    const int64_t common = padded((right - left) * (bottom - top));
    const int64_t pixels = (right - left) * (bottom - top);
    shared_.resize(2 * PER_PLANE * common + LANES);
    // Rows are copied in whole vectors: what is too much, the next row overwrites.
    for (int a = 0; a < 2 * PER_PLANE; ++a) {
      const bool is_second = a >= PER_PLANE;
      const real *weight = weight_.data() + one * pixels_ + top * p_.side + left;
      const real *from = rows_.data() + (is_second ? (two * PER_PLANE + a - PER_PLANE) * pixels_ + (top + y) * p_.side + left + x
                                                   : (one * PER_PLANE + a) * pixels_ + top * p_.side + left);
      real *to = shared_.data() + a * common;
      for (int64_t r = top; r < bottom; ++r, to += right - left, from += p_.side, weight += p_.side)
        for (int64_t k = 0; k < right - left; k += LANES) {
          Chunk values;
          values.add(1, from + k);
          if (!is_second) values.multiply(weight + k);
          values.store(to + k);
        }
      std::fill(to, to + common - pixels, real(0));
    }
    constexpr int STEP = PIXEL_BLOCK * sizeof(float) / sizeof(real);  // pixels whose sums stay in registers
    using Block = Row<real, STEP / LANES>;
    for (int a = 0; a < PER_PLANE; ++a) {
      Block partial[PER_PLANE];
      const real *there = shared_.data() + PER_PLANE * common;
      for (int64_t block = 0; block < common; block += STEP) {
        Block here;
        here.add(1, shared_.data() + a * common + block);
        for (int b = 0; b < PER_PLANE; ++b) partial[b].add_product(here, there + b * common + block);
      }
      for (int b = 0; b < PER_PLANE; ++b) sums[a * PER_PLANE + b] = double(partial[b].sum());
    }
  }

  void add_couplings(const Unknowns &at, Equations &equations) const {
    for (int64_t k = 0; k < int64_t(pairs_.size()) / 2; ++k)
      for (int64_t plane = 0; plane < p_.planes; ++plane) {
        const int64_t one = pairs_[2 * k], two = pairs_[2 * k + 1];
        double turned[PER_PLANE * PER_PLANE], block[PER_PLANE * PER_PLANE];
        const double *sums = coupling_.data() + (k * p_.planes + plane) * PER_PLANE * PER_PLANE;
        to_reference(sums, PER_PLANE, axes(one, plane), at, one, plane, turned);
        to_reference_columns(turned, PER_PLANE, axes(two, plane), at, two, plane, block);
        place_block(block, plane, equations.between.data() + k * size_ * size_);
        if (!plane) continue;  // drift moves all molecules: what it does to one's pixels, its neighbours do, too
        add_moving(block, false, one, plane, equations.with_drift, equations.about_drift);
        add_moving(block, true, two, plane, equations.with_drift, equations.about_drift);
      }
  }

  void add_priors(const Unknowns &at, Evaluation &out) const {
    Equations &equations = out.equations;
    for (int64_t k = 0; k < drifts_; ++k) {
      equations.about_drift[k * drifts_ + k] += drift_precision_[k];
      equations.about_drift_alone[k * drifts_ + k] += drift_precision_[k];
      equations.gradient.drift[k] -= drift_precision_[k] * at.drift[k];
    }
    for (int64_t i = 0; i < count_; ++i)
      for (int64_t k = 0; k < size_; ++k) {
        const int64_t at_k = i * size_ + k;
        const double moved = at.molecules[at_k] - start_.molecules[at_k];
        equations.own[at_k * size_ + k] += precision_[at_k];
        equations.gradient.molecules[at_k] -= precision_[at_k] * moved;
        out.cost += precision_[at_k] * moved * moved;
      }
  }

  const FirstLanes<real> lanes_{};
  const Problem &p_;
  int64_t pixels_, size_, drifts_;  // `pixels_` of a window with its padding
  int64_t first_ = 0, count_ = 0;
  std::unique_ptr<UnitImages<real>> images_;
  std::vector<real> sum_, windows_on_;  // (planes, rows, columns), zero between uses
  std::vector<real> photons_, background_, use_, share_, expected_, weight_;  // (count, planes, pixels_)
  std::vector<real> rows_;  // (count, planes, 5, pixels_): derivatives by x, y and defocus, image of one photon, share
  std::vector<real> shared_;
  Unknowns last_;           // where windows were evaluated, if they were
  bool evaluated_ = false;
  bool changes_ = false, drifts_now_ = false;
  std::vector<uint8_t> moves_, touched_;  // (count) which the last change of `last_` moved, or whose windows it changed
  std::vector<int64_t> neighbours_, first_neighbour_;
  Numbers products_, deviances_;  // of every window: (5, 6) sums, and two sums of the deviance
  std::vector<int64_t> corner_, pairs_;
  Numbers used_, coupling_, precision_, drift_precision_;
  Unknowns start_;
};

}  // namespace planeloc
