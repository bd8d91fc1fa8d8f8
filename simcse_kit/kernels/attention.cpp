// Softmax attention of each sequence of a packed row on itself, with dropout, forward and backward.
//
// A training batch holds hundreds of short sequences, so a library call for each is mostly
// overhead and padding them together costs copies. Here one (sequence, head) is one task: its
// matrices lie in a thread's own cache in fp32, and every product is the small one below.
#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "vectors.h"

namespace simcse {
namespace {

// C (rows x 16*J) = A B with A[r][k] = a[r * row + k * column] and B row-major.
template <int R, int J>
void tile(const float* a, int64_t row, int64_t column, const float* b, int64_t ldb, int64_t depth,
          float* c, int64_t ldc) {
  Lanes sums[R][J] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Lanes right[J];
    for (int j = 0; j < J; ++j) right[j] = load(b + k * ldb + j * kLanes);
    for (int r = 0; r < R; ++r) {
      const float left = a[r * row + k * column];
      for (int j = 0; j < J; ++j) sums[r][j] += left * right[j];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j) store(c + r * ldc + j * kLanes, sums[r][j]);
}

// C (m x n) = A B; n is a multiple of 16 and C has room for m rounded up to 4 rows, as has A.
void multiply(const float* a, int64_t row, int64_t column, const float* b, int64_t ldb, int64_t m,
              int64_t n, int64_t depth, float* c, int64_t ldc) {
  for (int64_t r = 0; r < m; r += 4) {
    int64_t j = 0;
    for (; j + 2 * kLanes <= n; j += 2 * kLanes)
      tile<4, 2>(a + r * row, row, column, b + j, ldb, depth, c + r * ldc + j, ldc);
    if (j < n) tile<4, 1>(a + r * row, row, column, b + j, ldb, depth, c + r * ldc + j, ldc);
  }
}

// One head of one sequence in a packed tensor: rows `stride` apart.
template <typename T>
struct Block {
  T* start;
  int64_t stride;
};

template <typename T>
void read(Block<const T> from, int64_t rows, int64_t columns, float* to, int64_t ld) {
  for (int64_t i = 0; i < rows; ++i) {
    __builtin_prefetch(from.start + i * from.stride + columns);  // the next head's row
    for (int64_t j = 0; j < columns; j += kLanes)
      store(to + i * ld + j, load(from.start + i * from.stride + j, columns - j));
  }
}

template <typename T>
void write(const float* from, int64_t ld, int64_t rows, int64_t columns, float scale, Block<T> to) {
  for (int64_t i = 0; i < rows; ++i) {
    __builtin_prefetch(to.start + i * to.stride + columns, 1);
    for (int64_t j = 0; j < columns; j += kLanes)
      store(to.start + i * to.stride + j, scale * load(from + i * ld + j), columns - j);
  }
}

// Both in a workspace, where there is room for rows and columns rounded up to 16.
void transpose(const float* from, int64_t ld, int64_t rows, int64_t columns, float* to,
               int64_t ldt) {
  Lanes square[kLanes];
  for (int64_t i = 0; i < rows; i += kLanes)
    for (int64_t j = 0; j < columns; j += kLanes) {
      for (int64_t r = 0; r < kLanes; ++r) square[r] = load(from + (i + r) * ld + j);
      turn(square);
      for (int64_t r = 0; r < kLanes; ++r) store(to + (j + r) * ldt + i, square[r]);
    }
}

// A thread's matrices, zeroed once: what lies beyond a sequence is finite and never read into it.
class Workspace {
 public:
  Workspace(int64_t longest, int64_t dim) : wide_(padded(longest)), dim_(padded(dim)) {
    memory_.resize(6 * wide_ * dim_ + 2 * wide_ * wide_);
    restart();
  }
  void restart() { next_ = memory_.data(); }
  float* tall() { return take(wide_ * dim_); }     // (length, dim) or (dim, length)
  float* square() { return take(wide_ * wide_); }  // (length, length)

 private:
  float* take(int64_t size) {
    float* taken = next_;
    next_ += size;
    return taken;
  }
  int64_t wide_, dim_;
  std::vector<float> memory_;
  float* next_;
};

// Where each sequence's tokens and its weights begin.
struct Layout {
  explicit Layout(const at::Tensor& lengths, int64_t heads) : heads(heads) {
    const int64_t* given = lengths.const_data_ptr<int64_t>();
    length.assign(given, given + lengths.numel());
    for (int64_t n : length) {
      token.push_back(tokens);
      weight.push_back(weights);
      tokens += n;
      weights += heads * n * n;
      longest = std::max(longest, n);
    }
  }
  // body(sequence, head, workspace) for all of them. Sequences come shortest first: taking them
  // from both ends in turn gives every thread short and long ones alike.
  template <typename Body>
  void each(int64_t dim, const Body& body) const {
    const int64_t count = static_cast<int64_t>(length.size());
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      Workspace space(longest, dim);
      for (int64_t task = begin; task < end; ++task)
        for (int64_t head = 0; head < heads; ++head)
          body(task % 2 ? count - 1 - task / 2 : task / 2, head, space);
    });
  }
  int64_t heads, tokens = 0, weights = 0, longest = 0;
  std::vector<int64_t> length, token, weight;
};

template <typename T>
Block<T> block(const at::Tensor& states, int64_t token, int64_t head) {
  using Plain = std::remove_const_t<T>;
  T* start;
  if constexpr (std::is_const_v<T>)
    start = states.const_data_ptr<Plain>();
  else
    start = states.mutable_data_ptr<Plain>();
  return {start + token * states.stride(0) + head * states.stride(1), states.stride(0)};
}

// Sixteen queries' softmax: `scores` holds a row a key, with queries along it. Keys that a query
// does not see (window) weigh nothing.
void softmax(float* scores, int64_t query, int64_t n, int64_t ld, float scale, int64_t window) {
  if (window < n) {
    for (int64_t key = 0; key < n; ++key)
      for (int64_t i = query; i < query + kLanes; ++i)
        if (std::abs(i - key) >= window && i < n) scores[key * ld + i] = -INFINITY;
  }
  float* column = scores + query;
  Lanes top = load(column), sum = {};
  for (int64_t key = 1; key < n; ++key) top = larger(top, load(column + key * ld));
  for (int64_t key = 0; key < n; ++key) {
    const Lanes score = load(column + key * ld);
    const Lanes power = exponential((score - top) * scale);
    const Lanes seen = score > -INFINITY ? power : Lanes{};
    sum += seen;
    store(column + key * ld, seen);
  }
  const Lanes inverse = 1.0f / sum;
  for (int64_t key = 0; key < n; ++key)
    store(column + key * ld, load(column + key * ld) * inverse);
}

// Store n weights, negative where dropped, and leave them in the row as attention uses them.
template <typename T>
void drop(float* row, int64_t n, const Dropout& dropout, int64_t place, T* weights) {
  for (int64_t j = 0; j < n; j += kLanes) {
    const Lanes weight = load(row + j);
    if (!dropout.on) {
      store(weights + place + j, weight, n - j);
      continue;
    }
    const Lanes mask = dropout.mask(place + j);
    store(weights + place + j, mask > 0.0f ? weight : -weight, n - j);
    store(row + j, mask * weight);
  }
}

void check(const at::Tensor& states, const Layout& layout) {
  TORCH_CHECK(states.dim() == 3 && states.size(0) >= layout.tokens && states.stride(2) == 1,
              "attention: states must be (tokens or more, heads, dim) and dense in dim");
}

// Rows after the last sequence fill the row up: they attend to nothing.
void clear_beyond(at::Tensor& states, int64_t tokens) {
  if (states.size(0) > tokens) states.narrow(0, tokens, states.size(0) - tokens).zero_();
}

std::tuple<at::Tensor, at::Tensor> attention(const at::Tensor& query, const at::Tensor& key,
                                             const at::Tensor& value, const at::Tensor& lengths,
                                             std::optional<int64_t> seed, double rate,
                                             double scale, int64_t window, bool keep_weights) {
  const int64_t heads = query.size(1), dim = query.size(2), ld = padded(dim);
  const Layout layout(lengths, heads);
  for (const at::Tensor* states : {&query, &key, &value}) check(*states, layout);
  const Dropout dropout(seed, rate);
  at::Tensor out = at::empty({query.size(0), heads, dim}, query.options());
  clear_beyond(out, layout.tokens);
  at::Tensor weights = at::empty({keep_weights ? layout.weights : 0}, query.options());
  SIMCSE_DISPATCH(query.scalar_type(), "attention", [&] {
    scalar_t* stored = weights.mutable_data_ptr<scalar_t>();
    layout.each(dim, [&](int64_t number, int64_t head, Workspace& space) {
      space.restart();
      float *q = space.tall(), *qt = space.tall(), *k = space.tall(), *v = space.tall();
      float *o = space.tall(), *s = space.square();
      const int64_t n = layout.length[number], wide = padded(n), token = layout.token[number];
      const int64_t place = layout.weight[number] + head * n * n;
      read(block<const scalar_t>(query, token, head), n, dim, q, ld);
      read(block<const scalar_t>(key, token, head), n, dim, k, ld);
      read(block<const scalar_t>(value, token, head), n, dim, v, ld);
      transpose(q, ld, n, dim, qt, wide);
      multiply(k, ld, 1, qt, wide, n, wide, dim, s, wide);
      for (int64_t i = 0; i < n; i += kLanes) softmax(s, i, n, wide, scale, window);
      for (int64_t j = 0; keep_weights && j < n; ++j)
        drop(s + j * wide, n, dropout, place + j * n, stored);
      multiply(s, 1, wide, v, ld, n, ld, n, o, ld);
      write(o, ld, n, dim, 1.0f, block<scalar_t>(out, token, head));
    });
  });
  return {out, weights};
}

// With P the weights, M their mask: dV = (M∘P)ᵀ dO, dP = M∘(dO Vᵀ), dS = P∘(dP − rowsum(P∘dP)),
// dQ = s·dS K, dK = s·dSᵀ Q. Everything lies a row a key. In: `p` holds stored weights, `d` holds
// V dOᵀ; out: M∘P and dS.
void through_softmax(float* p, float* d, int64_t n, int64_t ld, float kept) {
  for (int64_t query = 0; query < n; query += kLanes) {
    Lanes dots = {};
    for (int64_t at = query; at < query + n * ld; at += ld) {
      const Lanes weight = load(p + at);
      const Lanes grad = weight > 0.0f ? kept * load(d + at) : Lanes{};
      store(d + at, grad);
      dots += weight * grad;  // a dropped one adds nothing: its gradient is 0
    }
    for (int64_t at = query; at < query + n * ld; at += ld) {
      const Lanes weight = load(p + at);
      store(d + at, (weight < 0.0f ? -weight : weight) * (load(d + at) - dots));
      store(p + at, weight > 0.0f ? kept * weight : Lanes{});
    }
  }
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> attention_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key,
    const at::Tensor& value, const at::Tensor& weights, const at::Tensor& lengths, double rate,
    double scale) {
  const int64_t heads = query.size(1), dim = query.size(2), ld = padded(dim);
  const Layout layout(lengths, heads);
  for (const at::Tensor* states : {&grad, &query, &key, &value}) check(*states, layout);
  const float kept = Dropout(0, rate).kept;
  // side by side, as one product over all three projections takes them
  at::Tensor joint = at::empty({query.size(0), 3, heads, dim}, query.options());
  clear_beyond(joint, layout.tokens);
  at::Tensor dq = joint.select(1, 0), dk = joint.select(1, 1), dv = joint.select(1, 2);
  SIMCSE_DISPATCH(query.scalar_type(), "attention_backward", [&] {
    const scalar_t* stored = weights.const_data_ptr<scalar_t>();
    layout.each(dim, [&](int64_t number, int64_t head, Workspace& space) {
      space.restart();
      float *q = space.tall(), *k = space.tall(), *v = space.tall(), *g = space.tall();
      float *gt = space.tall(), *into = space.tall(), *p = space.square(), *d = space.square();
      const int64_t n = layout.length[number], wide = padded(n), token = layout.token[number];
      const int64_t place = layout.weight[number] + head * n * n;
      read(block<const scalar_t>(query, token, head), n, dim, q, ld);
      read(block<const scalar_t>(key, token, head), n, dim, k, ld);
      read(block<const scalar_t>(value, token, head), n, dim, v, ld);
      read(block<const scalar_t>(grad, token, head), n, dim, g, ld);
      read(Block<const scalar_t>{stored + place, n}, n, n, p, wide);
      transpose(g, ld, n, dim, gt, wide);
      multiply(v, ld, 1, gt, wide, n, wide, dim, d, wide);
      through_softmax(p, d, n, wide, kept);
      multiply(p, wide, 1, g, ld, n, ld, n, into, ld);
      write(into, ld, n, dim, 1.0f, block<scalar_t>(dv, token, head));
      multiply(d, 1, wide, k, ld, n, ld, n, into, ld);
      write(into, ld, n, dim, scale, block<scalar_t>(dq, token, head));
      multiply(d, wide, 1, q, ld, n, ld, n, into, ld);
      write(into, ld, n, dim, scale, block<scalar_t>(dk, token, head));
    });
  });
  return {dq, dk, dv};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(simcse_kit, m) {
  m.def(
      "attention(Tensor query, Tensor key, Tensor value, Tensor lengths, int? seed, float rate, "
      "float scale, int window, bool keep_weights=True) -> (Tensor, Tensor)");
  m.impl("attention", c10::DispatchKey::CPU, TORCH_FN(attention));
  m.def(
      "attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor weights, "
      "Tensor lengths, float rate, float scale) -> (Tensor, Tensor, Tensor)");
  m.impl("attention_backward", c10::DispatchKey::CPU, TORCH_FN(attention_backward));
}

}  // namespace simcse
