// Fits of two-dimensional Gaussians to windows, one after the other; planeloc/fitting/gaussian_2d.py explains them and has
// the same in NumPy.

#include <new>
#include <vector>

#include "dense.h"
#include "window_sums.h"

namespace planeloc {
namespace {

using Numbers = std::vector<double>;

struct GaussianWindows {
  int64_t count, rows, columns, size;  // `size`: five parameters, or six of the elliptical model
  int64_t likelihood, iterations;
  const double *data, *use;             // (count, rows, columns)
  const double *slope, *read_variance;  // (count)
  double cosine, sine;                  // of the direction of the first axis
  const double *widths;                 // (starts) squared widths to start from
  int64_t starts;
  double first_damping, decrease, increase, least_damping, largest_damping, hopeless;
  double close_enough, largest_step_px, smallest_width;
};

struct GaussianResult {
  double *parameters;        // (count, size)
  double *hessian, *middle;  // (count, size, size) derivatives with the weights, and with weights, variances, weights
  double *left, *contrast;   // (count) squared residuals less the noise, squared contrast of the model
  uint8_t *converged;        // (count)
};

class GaussianFit {
 public:
  explicit GaussianFit(const GaussianWindows &windows)
      : w_(windows),
        size_(windows.size),
        inside_(windows.rows * windows.columns),
        pixels_(padded(inside_)),
        rows_(size_ * pixels_),
        values_(pixels_),
        weight_(pixels_),
        variance_(pixels_),
        data_(pixels_),
        use_(pixels_),
        profile_(windows.rows + windows.columns),
        now_(size_),
        proposed_(size_),
        hessian_(size_ * size_),
        gradient_(size_) {}

  void run(GaussianResult &out) {
    for (int64_t window = 0; window < w_.count; ++window) {
      std::copy_n(w_.data + window * inside_, inside_, data_.begin());
      std::copy_n(w_.use + window * inside_, inside_, use_.begin());
      slope_ = w_.slope[window], read_ = w_.read_variance[window];
      start();
      out.converged[window] = fit();
      evaluate(now_, true);
      std::copy(now_.begin(), now_.end(), out.parameters + window * size_);
      describe(out, window);
    }
  }

 private:
  // The best of some widths in the middle of the window, with the peak and background that follow linearly.
  void start() {
    double count = 0, sum = 0, least = INFINITY;
    for (int64_t k = 0; k < inside_; ++k) count += use_[k], sum += use_[k] * data_[k];
    Numbers trial(size_);
    std::fill(now_.begin(), now_.end(), 0.0);
    for (int64_t number = 0; number < w_.starts; ++number) {
      trial[0] = double(w_.columns) / 2, trial[1] = double(w_.rows) / 2;
      std::fill(trial.begin() + 2, trial.end() - 2, w_.widths[number]);
      trial[size_ - 2] = 1, trial[size_ - 1] = 0;
      evaluate(trial, false);
      double mean = 0, covariance = 0, variance = 0, cost = 0;
      for (int64_t k = 0; k < inside_; ++k) mean += use_[k] * values_[k];
      mean /= count;
      for (int64_t k = 0; k < inside_; ++k) {
        const double centred = use_[k] * (values_[k] - mean);
        covariance += centred * data_[k], variance += centred * values_[k];
      }
      const double peak = covariance / std::max(variance, 1e-12), background = sum / count - peak * mean;
      for (int64_t k = 0; k < inside_; ++k) {
        const double residual = data_[k] - peak * values_[k] - background;
        cost += use_[k] * residual * residual;
      }
      if (!(peak > 0)) cost += 1e30;
      if (!(cost < least)) continue;
      least = cost, now_ = trial;
      now_[size_ - 2] = std::max(peak, 1e-3), now_[size_ - 1] = background;
    }
    if (w_.likelihood) now_[size_ - 1] = std::max(now_[size_ - 1], 1e-3);  // a negative background has no likelihood
  }

  bool fit() {
    double damping = w_.first_damping, cost = evaluate(now_, true);
    for (int64_t number = 0; number < w_.iterations; ++number) {
      add_derivatives();
      const bool tiny = propose(damping);
      const double proposed_cost = evaluate(proposed_, true);
      const bool better = proposed_cost <= cost;
      damping = std::clamp(better ? damping / w_.decrease : damping * w_.increase, w_.least_damping, w_.largest_damping);
      if (better)
        std::swap(now_, proposed_), cost = proposed_cost;
      if ((tiny && better) || damping > w_.hopeless) return true;
      if (!better) evaluate(now_, true);
    }
    return false;
  }

  // Values of the model, its derivatives, variances and weights; what is minimised.
  double evaluate(const Numbers &at, bool derivatives) {
    shapes(at);
    const double peak = at[size_ - 2], level = at[size_ - 1];
    if (!derivatives) {
      for (int64_t k = 0; k < inside_; ++k) values_[k] = peak * values_[k] + level;
      return 0;
    }
    const double c = w_.cosine, s = w_.sine, width_u = at[2], width_v = at[size_ - 3];
    double *row[6];
    for (int64_t a = 0; a < size_; ++a) row[a] = rows_.data() + a * pixels_;
    int64_t k = 0;
    for (int64_t r = 0; r < w_.rows; ++r)
      for (int64_t column = 0; column < w_.columns; ++column, ++k) {
        const double dx = double(column) + 0.5 - at[0], dy = double(r) + 0.5 - at[1];
        const double u = c * dx + s * dy, v = c * dy - s * dx, shape = values_[k], signal = peak * shape;
        const double du = signal * u / width_u, dv = signal * v / width_v;
        const double by_u = 0.5 * du * u / width_u, by_v = 0.5 * dv * v / width_v;
        row[0][k] = c * du - s * dv, row[1][k] = s * du + c * dv;
        if (size_ == 5)
          row[2][k] = by_u + by_v;
        else
          row[2][k] = by_u, row[3][k] = by_v;
        row[size_ - 2][k] = shape, row[size_ - 1][k] = 1;
        values_[k] = signal + level;
      }
    for (k = 0; k < inside_; ++k) variance_[k] = std::max(slope_ * std::max(values_[k], 0.0) + read_, 1e-6 * slope_);
    for (k = 0; k < inside_; ++k) weight_[k] = w_.likelihood ? use_[k] / variance_[k] : use_[k];
    return w_.likelihood ? deviance() : squares();
  }

  // A Gaussian of height one at every pixel.
  void shapes(const Numbers &at) {
    const double c = w_.cosine, s = w_.sine, width_u = at[2], width_v = at[size_ - 3];
    int64_t k = 0;
    if (size_ == 5 || s == 0) {  // a product of one along x and one along y
      double *along_x = profile_.data(), *along_y = along_x + w_.columns;
      for (int64_t i = 0; i < w_.columns; ++i) along_x[i] = std::exp(-0.5 * square(double(i) + 0.5 - at[0]) / width_u);
      for (int64_t i = 0; i < w_.rows; ++i) along_y[i] = std::exp(-0.5 * square(double(i) + 0.5 - at[1]) / width_v);
      for (int64_t r = 0; r < w_.rows; ++r)
        for (int64_t column = 0; column < w_.columns; ++column) values_[k++] = along_x[column] * along_y[r];
      return;
    }
    for (int64_t r = 0; r < w_.rows; ++r)
      for (int64_t column = 0; column < w_.columns; ++column) {
        const double dx = double(column) + 0.5 - at[0], dy = double(r) + 0.5 - at[1];
        values_[k++] = std::exp(-0.5 * (square(c * dx + s * dy) / width_u + square(c * dy - s * dx) / width_v));
      }
  }

  static double square(double value) { return value * value; }

  double squares() const {
    double sum = 0;
    for (int64_t k = 0; k < inside_; ++k) sum += use_[k] * square(data_[k] - values_[k]);
    return sum;
  }

  double deviance() const {
    using Lanes = Vector<double>::type;
    const double shift = read_ / slope_;
    Lanes sum = {};
    for (int64_t k = 0; k < pixels_; k += LANES) {
      Lanes mean, seen, use;
      std::memcpy(&mean, values_.data() + k, sizeof mean);
      std::memcpy(&seen, data_.data() + k, sizeof seen);
      std::memcpy(&use, use_.data() + k, sizeof use);
      mean += shift, seen += shift;
      mean = (mean < 1e-6 ? 1e-6 + 0 * mean : mean) / slope_;
      seen = (seen > 0 ? seen : 0 * seen) / slope_;
      Lanes ratio = mean / (seen > 0 ? seen : mean);
      take_logarithms(ratio);
      sum += use * 2 * (mean - seen - seen * ratio);
    }
    double total = 0;
    for (int i = 0; i < LANES; ++i) total += sum[i];
    return total;
  }

  // Sums over pixels of products of derivatives, weighted by `weight`.
  void add_products(const Numbers &weight, double *out) const {
    for (int64_t a = 0; a < size_; ++a)
      for (int64_t b = a; b < size_; ++b) {
        const double *left = rows_.data() + a * pixels_, *right = rows_.data() + b * pixels_;
        double sum = 0;
        for (int64_t k = 0; k < inside_; ++k) sum += weight[k] * left[k] * right[k];
        out[a * size_ + b] = out[b * size_ + a] = sum;
      }
  }

  void add_derivatives() {
    add_products(weight_, hessian_.data());
    for (int64_t a = 0; a < size_; ++a) {
      const double *row = rows_.data() + a * pixels_;
      double sum = 0;
      for (int64_t k = 0; k < inside_; ++k) sum += weight_[k] * row[k] * (data_[k] - values_[k]);
      gradient_[a] = sum;
    }
  }

  // A damped step that neither jumps across the window nor changes a width or the peak out of reason; whether it is tiny.
  bool propose(double damping) {
    double scale[6], system[36], inverse[36];
    for (int64_t a = 0; a < size_; ++a) scale[a] = 1 / std::sqrt(std::max(hessian_[a * size_ + a], 1e-12));
    for (int64_t a = 0; a < size_; ++a)
      for (int64_t b = 0; b < size_; ++b)
        system[a * size_ + b] = hessian_[a * size_ + b] * scale[a] * scale[b] + (a == b) * (damping + 1e-12);
    invert(system, size_, inverse, work_);
    bool tiny = true;
    for (int64_t a = 0; a < size_; ++a) {
      double step = 0;
      for (int64_t b = 0; b < size_; ++b) step += inverse[a * size_ + b] * gradient_[b] * scale[b];
      step *= scale[a];
      double &proposed = proposed_[a], now = now_[a];
      proposed = now + (a < 2 ? limited(step, -w_.largest_step_px, w_.largest_step_px) : step);
      if (a >= 2 && a < size_ - 2) proposed = limited(limited(proposed, now / 2.5, now * 2.5), w_.smallest_width, 1e4);
      if (a == size_ - 2) proposed = proposed < now / 10 ? now / 10 : proposed;
      tiny = tiny && std::fabs(proposed - now) <= w_.close_enough * (a < 2 ? 1.0 : std::fabs(now) + 1e-3);
    }
    return tiny;
  }

  static double limited(double value, double least, double most) {  // NaN stays
    return value < least ? least : value > most ? most : value;
  }

  void describe(GaussianResult &out, int64_t window) {
    add_products(weight_, out.hessian + window * size_ * size_);
    Numbers weight(pixels_);
    double left = 0, contrast = 0, mean = 0, count = 0;
    for (int64_t k = 0; k < inside_; ++k) {
      weight[k] = square(weight_[k]) * variance_[k];
      left += use_[k] * (square(data_[k] - values_[k]) - variance_[k]);
      mean += use_[k] * values_[k], count += use_[k];
    }
    mean /= count;
    for (int64_t k = 0; k < inside_; ++k) contrast += use_[k] * square(values_[k] - mean);
    add_products(weight, out.middle + window * size_ * size_);
    out.left[window] = left, out.contrast[window] = contrast;
  }

  const GaussianWindows &w_;
  int64_t size_, inside_, pixels_;  // `pixels_`: with padding
  Numbers rows_;                    // (size, pixels_) derivatives
  Numbers values_, weight_, variance_, data_, use_, profile_;
  Numbers now_, proposed_, hessian_, gradient_, work_;
  double slope_ = 1, read_ = 0;
};

}  // namespace
}  // namespace planeloc

extern "C" int planeloc_fit_gaussians(const void *windows, void *result) {
  try {
    planeloc::GaussianFit(*static_cast<const planeloc::GaussianWindows *>(windows))
        .run(*static_cast<planeloc::GaussianResult *>(result));
    return 0;
  } catch (const std::bad_alloc &) {
    return 1;
  }
}
