// What an encoder layer does between its matrix products, each in one pass over memory:
// dropout + residual + layer norm, and GELU, there and back.
#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "vectors.h"

namespace simcse {
namespace {

// Mean and 1/sd of a row.
std::pair<float, float> moments(const float* row, int64_t width, float eps) {
  Lanes sums = {}, squares = {};
  for (int64_t j = 0; j < width; j += kLanes) sums += load(row + j, width - j);
  const float mean = sum(sums) / width;
  for (int64_t j = 0; j < width; j += kLanes) {
    const Lanes off = load(row + j, width - j) - mean;
    squares += off * off;
  }
  // lanes beyond the row were read as 0, so each added mean² to the squares
  const float square = sum(squares) - (padded(width) - width) * mean * mean;
  return {mean, 1 / std::sqrt(square / width + eps)};
}

// y = norm(dropout(x) + residual). The backward needs that sum, which takes x's place, and its
// moments (rows, 2).
std::tuple<at::Tensor, at::Tensor> dropout_add_norm_(
    at::Tensor& x, const at::Tensor& residual, std::optional<int64_t> seed, double rate,
    const at::Tensor& weight, const at::Tensor& bias, double eps) {
  const int64_t rows = x.size(0), width = x.size(1);
  TORCH_CHECK(x.is_contiguous() && residual.is_contiguous() && x.sizes() == residual.sizes() &&
                  x.scalar_type() == residual.scalar_type(),
              "dropout_add_norm_: x and residual must be contiguous and alike");
  at::Tensor y = at::empty_like(x);
  at::Tensor stats = at::empty({rows, 2}, x.options().dtype(at::kFloat));
  const Dropout dropout(seed, rate);
  const float *gain = weight.const_data_ptr<float>(), *shift = bias.const_data_ptr<float>();
  float* saved = stats.mutable_data_ptr<float>();
  SIMCSE_DISPATCH(x.scalar_type(), "dropout_add_norm_", [&] {
    const scalar_t* skip = residual.const_data_ptr<scalar_t>();
    scalar_t *out = y.mutable_data_ptr<scalar_t>(), *sums = x.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, rows, kRows, [&](int64_t begin, int64_t end) {
      std::vector<float> row(width);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * width;
        for (int64_t j = 0; j < width; j += kLanes) {
          const int64_t count = width - j;
          ahead(sums + at + j);
          ahead(skip + at + j);
          ahead(out + at + j);
          Lanes value = load(sums + at + j, count);
          if (dropout.on) value *= dropout.mask(at + j);
          value += load(skip + at + j, count);
          store(row.data() + j, value, count);
          store(sums + at + j, value, count);
        }
        const auto [mean, inverse] = moments(row.data(), width, static_cast<float>(eps));
        saved[2 * i] = mean;
        saved[2 * i + 1] = inverse;
        for (int64_t j = 0; j < width; j += kLanes) {
          const int64_t count = width - j;
          const Lanes normal = (load(row.data() + j, count) - mean) * inverse;
          store(out + at + j, normal * load(gain + j, count) + load(shift + j, count), count);
        }
      }
    });
  });
  return {y, stats};
}

// The norm of every row, whose elements total(i, j, count) gives sixteen at a time; in bf16 too,
// in `twin`, where that is asked for.
template <typename Total, typename Y>
void norm_rows(int64_t rows, int64_t width, const at::Tensor& weight, const at::Tensor& bias,
               double eps, Y* y, c10::BFloat16* twin, const Total& total) {
  const float *gain = weight.const_data_ptr<float>(), *shift = bias.const_data_ptr<float>();
  at::parallel_for(0, rows, kRows, [&](int64_t begin, int64_t end) {
    std::vector<float> row(width);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i * width;
      for (int64_t j = 0; j < width; j += kLanes) {
        ahead(y + at + j);
        if (twin) ahead(twin + at + j);
        store(row.data() + j, total(i, j, width - j), width - j);
      }
      const auto [mean, inverse] = moments(row.data(), width, static_cast<float>(eps));
      for (int64_t j = 0; j < width; j += kLanes) {
        const int64_t count = width - j;
        const Lanes normal = (load(row.data() + j, count) - mean) * inverse;
        const Lanes value = normal * load(gain + j, count) + load(shift + j, count);
        store(y + at + j, value, count);
        if (twin) store(twin + at + j, value, count);
      }
    }
  });
}

typedef std::tuple<at::Tensor, std::optional<at::Tensor>> Twins;

c10::BFloat16* place_of(std::optional<at::Tensor>& twin) {
  return twin ? twin->mutable_data_ptr<c10::BFloat16>() : nullptr;
}

// norm(x + residual) for inference: the residual stream keeps its own type, x may be narrower.
Twins add_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
               const at::Tensor& bias, double eps, bool twin) {
  TORCH_CHECK(x.is_contiguous() && residual.is_contiguous() && x.sizes() == residual.sizes(),
              "add_norm: x and residual must be contiguous and of one shape");
  const int64_t width = x.size(1);
  at::Tensor y = at::empty_like(residual);
  std::optional<at::Tensor> narrow;
  if (twin) narrow = at::empty_like(residual, residual.options().dtype(at::kBFloat16));
  SIMCSE_DISPATCH(x.scalar_type(), "add_norm", [&] {
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    SIMCSE_DISPATCH(residual.scalar_type(), "add_norm", [&] {
      const scalar_t* skip = residual.const_data_ptr<scalar_t>();
      norm_rows(x.size(0), width, weight, bias, eps, y.mutable_data_ptr<scalar_t>(),
                place_of(narrow), [&](int64_t i, int64_t j, int64_t count) {
                  const int64_t at = i * width + j;
                  ahead(in + at);
                  ahead(skip + at);
                  return load(in + at, count) + load(skip + at, count);
                });
    });
  });
  return {y, narrow};
}

// norm(words[id] + type + places[position]), the tables of floats: (tokens, width).
Twins embed_norm(const at::Tensor& ids, const at::Tensor& positions, const at::Tensor& words,
                 const at::Tensor& type, const at::Tensor& places, const at::Tensor& weight,
                 const at::Tensor& bias, double eps, bool twin) {
  const int64_t tokens = ids.numel(), width = words.size(1);
  for (const at::Tensor* each : {&ids, &positions, &words, &type, &places})
    TORCH_CHECK(each->is_contiguous(), "embed_norm: everything must be contiguous");
  TORCH_CHECK(positions.numel() == tokens && type.numel() == width && places.size(1) == width,
              "embed_norm: a position a token, and tables of one width");
  const int64_t *id = ids.const_data_ptr<int64_t>(), *at = positions.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < tokens; ++i)
    TORCH_CHECK_INDEX(id[i] >= 0 && id[i] < words.size(0) && at[i] >= 0 && at[i] < places.size(0),
                      "token ", i, " has id ", id[i], " and position ", at[i], ", with tables of ",
                      words.size(0), " and ", places.size(0));
  at::Tensor y = at::empty({tokens, width}, words.options());
  std::optional<at::Tensor> narrow;
  if (twin) narrow = at::empty({tokens, width}, words.options().dtype(at::kBFloat16));
  const float *word = words.const_data_ptr<float>(), *place = places.const_data_ptr<float>();
  const float* kind = type.const_data_ptr<float>();
  norm_rows(tokens, width, weight, bias, eps, y.mutable_data_ptr<float>(), place_of(narrow),
            [&](int64_t i, int64_t j, int64_t count) {
              const float *row = word + id[i] * width + j, *spot = place + at[i] * width + j;
              if (i + 4 < tokens) __builtin_prefetch(word + id[i + 4] * width + j);
              return load(row, count) + load(kind + j, count) + load(spot, count);
            });
  return {y, narrow};
}

// Gradients of x, residual, weight and bias, and the column sums of that of x (the gradient of a
// bias that went into x). A second gradient of the output (its own residual's) is added to `grad`.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> dropout_add_norm_backward(
    const at::Tensor& grad, const std::optional<at::Tensor>& second, const at::Tensor& total,
    const at::Tensor& stats, std::optional<int64_t> seed, double rate, const at::Tensor& weight) {
  const int64_t rows = total.size(0), width = total.size(1), threads = at::get_num_threads();
  for (const at::Tensor* each : {&grad, second ? &*second : &grad})
    TORCH_CHECK(each->is_contiguous() && each->sizes() == total.sizes() &&
                    each->scalar_type() == total.scalar_type(),
                "dropout_add_norm_backward: gradients must be contiguous and like the output");
  const Dropout dropout(seed, rate);
  at::Tensor dx = at::empty_like(total), dskip = dropout.on ? at::empty_like(total) : dx;
  at::Tensor parts = at::zeros({3, threads, width}, total.options().dtype(at::kFloat));
  const float *gain = weight.const_data_ptr<float>(), *saved = stats.const_data_ptr<float>();
  float* partial = parts.mutable_data_ptr<float>();
  SIMCSE_DISPATCH(total.scalar_type(), "dropout_add_norm_backward", [&] {
    const scalar_t *in = grad.const_data_ptr<scalar_t>(), *sums = total.const_data_ptr<scalar_t>();
    const scalar_t* more = second ? second->const_data_ptr<scalar_t>() : nullptr;
    scalar_t *out = dx.mutable_data_ptr<scalar_t>(), *skip = dskip.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, rows, kRows, [&](int64_t begin, int64_t end) {
      const int64_t wide = padded(width);
      std::vector<float> own(5 * wide);  // each thread's apart: no line is shared
      float *dgain = own.data(), *dshift = dgain + wide, *dbias = dshift + wide;
      float *slopes = dbias + wide, *normals = slopes + wide;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * width;
        const float mean = saved[2 * i], inverse = saved[2 * i + 1];
        Lanes across = {}, along = {};
        for (int64_t j = 0; j < width; j += kLanes) {
          const int64_t count = width - j;
          ahead(in + at + j);
          ahead(sums + at + j);
          ahead(skip + at + j);
          ahead(out + at + j);
          Lanes d = load(in + at + j, count);
          if (more) {
            ahead(more + at + j);
            d += load(more + at + j, count);
          }
          const Lanes slope = d * load(gain + j, count);
          const Lanes normal = (load(sums + at + j, count) - mean) * inverse;
          store(dgain + j, load(dgain + j) + d * normal);
          store(dshift + j, load(dshift + j) + d);
          store(slopes + j, slope);
          store(normals + j, normal);
          across += slope;
          along += slope * normal;  // beyond the row the slope is 0
        }
        const float level = sum(across) / width, tilt = sum(along) / width;
        for (int64_t j = 0; j < width; j += kLanes) {
          const int64_t count = width - j;
          Lanes through = inverse * (load(slopes + j) - level - load(normals + j) * tilt);
          store(skip + at + j, through, count);
          if (dropout.on) {
            through *= dropout.mask(at + j);
            store(out + at + j, through, count);
          }
          store(dbias + j, load(dbias + j) + through);
        }
      }
      float* mine = partial + at::get_thread_num() * width;
      for (const float* each : {dgain, dshift, dbias}) {
        std::copy_n(each, width, mine);
        mine += threads * width;
      }
    });
  });
  at::Tensor summed = parts.sum(1);
  return {dx, dskip, summed.select(0, 0), summed.select(0, 1), summed.select(0, 2)};
}

// Sixteen times N elements, the last sixteen of them `count - 16 (N - 1)` in truth.
template <int N, typename T>
void gelu_of(const T* x, int64_t count, T* y) {
  Lanes in[N], phi[N];
  for (int k = 0; k < N; ++k) {
    ahead(x + k * kLanes);
    ahead(y + k * kLanes);
    in[k] = load(x + k * kLanes, count - k * kLanes);
  }
  Gelu<N>(in).phi(phi);
  for (int k = 0; k < N; ++k) store(y + k * kLanes, in[k] * phi[k], count - k * kLanes);
}

template <int N, typename T>
void through_gelu(const T* x, T* grad, int64_t count, T* y, float* sums) {
  Lanes in[N], phi[N], slope[N];
  for (int k = 0; k < N; ++k) {
    ahead(x + k * kLanes);
    ahead(grad + k * kLanes);
    ahead(y + k * kLanes);
    in[k] = load(x + k * kLanes, count - k * kLanes);
  }
  const Gelu<N> gelu(in);
  gelu.phi(phi);
  gelu.slope(slope);
  for (int k = 0; k < N; ++k) {
    const int64_t at = k * kLanes;
    store(y + at, in[k] * phi[k], count - at);
    const Lanes through = load(grad + at, count - at) * slope[k];
    store(grad + at, through, count - at);
    store(sums + at, load(sums + at) + through);
  }
}

// x Phi(x) of a matrix.
at::Tensor gelu(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous(), "gelu: x must be a contiguous matrix");
  const int64_t rows = x.size(0), width = x.size(1);
  at::Tensor y = at::empty_like(x);
  SIMCSE_DISPATCH(x.scalar_type(), "gelu", [&] {
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    scalar_t* out = y.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, rows, kRows, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * width; i < end * width; i += width) {
        int64_t j = 0;
        for (; j + 4 * kLanes <= width; j += 4 * kLanes)
          gelu_of<4>(in + i + j, 4 * kLanes, out + i + j);
        for (; j < width; j += kLanes) gelu_of<1>(in + i + j, width - j, out + i + j);
      }
    });
  });
  return y;
}

// Through GELU, in grad's place: grad * gelu'(x). Gives gelu(x) again, which then need not be kept
// for the way back, and the float sums of the gradient's columns.
std::tuple<at::Tensor, at::Tensor> gelu_backward_(at::Tensor& grad, const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous() && grad.is_contiguous() &&
                  grad.sizes() == x.sizes() && grad.scalar_type() == x.scalar_type(),
              "gelu_backward_: grad and x must be contiguous and alike");
  const int64_t rows = x.size(0), width = x.size(1), threads = at::get_num_threads();
  at::Tensor y = at::empty_like(x);
  at::Tensor parts = at::zeros({threads, width}, x.options().dtype(at::kFloat));
  float* partial = parts.mutable_data_ptr<float>();
  SIMCSE_DISPATCH(x.scalar_type(), "gelu_backward_", [&] {
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    scalar_t *d = grad.mutable_data_ptr<scalar_t>(), *out = y.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, rows, kRows, [&](int64_t begin, int64_t end) {
      std::vector<float> own(padded(width));
      for (int64_t i = begin * width; i < end * width; i += width) {
        int64_t j = 0;
        for (; j + 4 * kLanes <= width; j += 4 * kLanes)
          through_gelu<4>(in + i + j, d + i + j, 4 * kLanes, out + i + j, own.data() + j);
        for (; j < width; j += kLanes)
          through_gelu<1>(in + i + j, d + i + j, width - j, out + i + j, own.data() + j);
      }
      std::copy_n(own.data(), width, partial + at::get_thread_num() * width);
    });
  });
  return {y, parts.sum(0)};
}

// x where it is kept, over the rate of keeping, else 0. The same call on a gradient is its way back.
at::Tensor dropout(const at::Tensor& x, int64_t seed, double rate) {
  TORCH_CHECK(x.is_contiguous(), "dropout: x must be contiguous");
  const Dropout drawn(seed, rate);
  at::Tensor y = at::empty_like(x);
  SIMCSE_DISPATCH(x.scalar_type(), "dropout", [&] {
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    scalar_t* out = y.mutable_data_ptr<scalar_t>();
    const int64_t size = x.numel();
    at::parallel_for(0, (size + kLanes - 1) / kLanes, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t at = begin * kLanes; at < std::min(size, end * kLanes); at += kLanes) {
        ahead(in + at);
        ahead(out + at);
        store(out + at, drawn.mask(at) * load(in + at, size - at), size - at);
      }
    });
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(simcse_kit, m) {
  m.def(
      "dropout_add_norm_(Tensor(a!) x, Tensor residual, int? seed, float rate, Tensor weight, "
      "Tensor bias, float eps) -> (Tensor, Tensor)");
  m.impl("dropout_add_norm_", c10::DispatchKey::CPU, TORCH_FN(dropout_add_norm_));
  m.def(
      "dropout_add_norm_backward(Tensor grad, Tensor? second, Tensor total, Tensor stats, "
      "int? seed, float rate, Tensor weight) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.impl("dropout_add_norm_backward", c10::DispatchKey::CPU, TORCH_FN(dropout_add_norm_backward));
  m.def(
      "add_norm(Tensor x, Tensor residual, Tensor weight, Tensor bias, float eps, bool twin=False) "
      "-> (Tensor, Tensor?)");
  m.impl("add_norm", c10::DispatchKey::CPU, TORCH_FN(add_norm));
  m.def(
      "embed_norm(Tensor ids, Tensor positions, Tensor words, Tensor type, Tensor places, "
      "Tensor weight, Tensor bias, float eps, bool twin=False) -> (Tensor, Tensor?)");
  m.impl("embed_norm", c10::DispatchKey::CPU, TORCH_FN(embed_norm));
  m.def("gelu(Tensor x) -> Tensor");
  m.impl("gelu", c10::DispatchKey::CPU, TORCH_FN(gelu));
  m.def("gelu_backward_(Tensor(a!) grad, Tensor x) -> (Tensor, Tensor)");
  m.impl("gelu_backward_", c10::DispatchKey::CPU, TORCH_FN(gelu_backward_));
  m.def("dropout(Tensor x, int seed, float rate) -> Tensor");
  m.impl("dropout", c10::DispatchKey::CPU, TORCH_FN(dropout));
}

}  // namespace simcse
