// What gradients want of matrices: transposed copies, for a product with one, and sums.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "vectors.h"

namespace simcse {
namespace {

// bf16 (rows, columns) to (columns, rows), as bf16 or as float. A thread takes bands of rows: it
// reads them while they are in its cache and writes whole cache lines of every column.
template <typename To>
void transpose_bands(const c10::BFloat16* from, int64_t rows, int64_t columns, To* to) {
  constexpr int64_t band = 4 * kLanes;
  at::parallel_for(0, (rows + band - 1) / band, 1, [&](int64_t begin, int64_t end) {
    HalfLanes square[kLanes];
    c10::BFloat16 edge[kLanes][kLanes] = {};
    for (int64_t first = begin * band; first < std::min(rows, end * band); first += band)
      for (int64_t c = 0; c < columns; c += kLanes)
        for (int64_t r = first; r < std::min(rows, first + band); r += kLanes) {
          const int64_t height = std::min(kLanes, rows - r), width = std::min(kLanes, columns - c);
          for (int64_t i = 0; i < height; ++i) {
            const c10::BFloat16* row = from + (r + i) * columns + c;
            __builtin_prefetch(row + 4 * kLanes);
            __builtin_prefetch(to + (c + kLanes + i) * rows + r, 1);
            if (width < kLanes) row = std::copy(row, row + width, edge[i]) - width;
            std::memcpy(&square[i], row, sizeof square[i]);
          }
          turn(square);
          for (int64_t j = 0; j < width; ++j) {
            const auto* row = reinterpret_cast<const c10::BFloat16*>(&square[j]);
            if constexpr (std::is_same_v<To, float>)
              store(to + (c + j) * rows + r, load(row), height);
            else if (height == kLanes)
              std::memcpy(to + (c + j) * rows + r, row, sizeof square[j]);
            else
              std::memcpy(to + (c + j) * rows + r, row, height * sizeof *row);
          }
        }
  });
}

at::Tensor transposed(const at::Tensor& x, bool to_float) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous(), "transposed: x must be a contiguous matrix");
  const auto type = to_float ? at::kFloat : at::kBFloat16;
  at::Tensor y = at::empty({x.size(1), x.size(0)}, x.options().dtype(type));
  const auto* from = x.const_data_ptr<c10::BFloat16>();
  if (to_float)
    transpose_bands(from, x.size(0), x.size(1), y.mutable_data_ptr<float>());
  else
    transpose_bands(from, x.size(0), x.size(1), y.mutable_data_ptr<c10::BFloat16>());
  return y;
}

// Float sums of the columns (a bias's gradient).
at::Tensor column_sums(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous(), "column_sums: x must be contiguous");
  const int64_t rows = x.size(0), width = x.size(1), threads = at::get_num_threads();
  at::Tensor parts = at::zeros({threads, width}, x.options().dtype(at::kFloat));
  float* partial = parts.mutable_data_ptr<float>();
  SIMCSE_DISPATCH(x.scalar_type(), "column_sums", [&] {
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    at::parallel_for(0, rows, kRows, [&](int64_t begin, int64_t end) {
      std::vector<float> own(padded(width));
      for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j < width; j += kLanes) {
          ahead(in + i * width + j);
          store(own.data() + j, load(own.data() + j) + load(in + i * width + j, width - j));
        }
      std::copy_n(own.data(), width, partial + at::get_thread_num() * width);
    });
  });
  return parts.sum(0);
}

// The sum of the squares of all elements of several dense float tensors: a gradient's squared norm.
double sum_of_squares(const at::TensorList tensors) {
  constexpr int64_t piece = 1 << 14;  // elements whose squares one float sum takes
  std::vector<std::pair<const float*, int64_t>> pieces;
  for (const at::Tensor& each : tensors) {
    TORCH_CHECK(each.is_non_overlapping_and_dense() && each.scalar_type() == at::kFloat,
                "sum_of_squares: tensors must be dense and of type float");
    const float* start = each.const_data_ptr<float>();
    for (int64_t at = 0; at < each.numel(); at += piece)
      pieces.emplace_back(start + at, std::min(piece, each.numel() - at));
  }
  std::vector<double> sums(pieces.size());
  at::parallel_for(0, static_cast<int64_t>(pieces.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      const auto [start, count] = pieces[number];
      Lanes squares[4] = {};  // independent, so that none waits for another
      for (int64_t at = 0; at < count; at += 4 * kLanes)
        for (int k = 0; k < 4; ++k) {
          const int64_t place = at + k * kLanes;
          if (place >= count) break;
          ahead(start + place);
          const Lanes some = load(start + place, count - place);
          squares[k] += some * some;
        }
      sums[number] = sum(squares[0] + squares[1] + (squares[2] + squares[3]));
    }
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(simcse_kit, m) {
  m.def("transposed(Tensor x, bool to_float) -> Tensor");
  m.impl("transposed", c10::DispatchKey::CPU, TORCH_FN(transposed));
  m.def("column_sums(Tensor x) -> Tensor");
  m.impl("column_sums", c10::DispatchKey::CPU, TORCH_FN(column_sums));
  m.def("sum_of_squares(Tensor[] tensors) -> float");
  m.impl("sum_of_squares", c10::DispatchKey::CPU, TORCH_FN(sum_of_squares));
}

}  // namespace simcse
