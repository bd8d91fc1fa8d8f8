// Softmax attention of each sequence of a packed row on itself, with dropout, forward and backward.
//
// A training batch holds hundreds of short sequences, so a library call for each is mostly
// overhead and padding them together costs copies. Here one (sequence, head) is one task: its
// matrices lie in a thread's own cache, in fp32, or in bf16 where the processor multiplies that by
// tiles; what is between the products is in fp32 either way.
#include <optional>
#include <tuple>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "amx.h"
#include "attention.h"

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

// What all sequences have in common.
struct Settings {
  int64_t heads, dim;
  float scale;
  int64_t window;  // keys this far away and farther are not seen
  Dropout dropout;
};

// Where one sequence's states are, and its stored weights: a row a key, head after head.
template <typename T>
struct Sequence {
  int64_t length;
  Heads<const T> query, key, value;
  T* weights;
  int64_t place;  // of the first of them among all sequences', for dropout's draws
};

// In fp32, whatever the states are in.
template <typename T>
class InFloats {
 public:
  InFloats(const Settings& of, int64_t longest)
      : of_(of), ld_(padded(of.dim)), space_(6 * padded(longest) * ld_ + 2 * square(longest) + padded(longest)) {}

  void forward(const Sequence<T>& of, bool keep, Heads<T> out) {
    wide_ = padded(of.length);
    for (int64_t head = 0; head < of_.heads; ++head) {
      space_.restart();
      float *q = tall(), *qt = tall(), *k = tall(), *v = tall(), *o = tall(), *s = square();
      float* inverse = space_.take<float>(wide_);
      const int64_t n = of.length, dim = of_.dim, place = head * n * n;
      read(of.query[head], n, dim, q, ld_);
      read(of.key[head], n, dim, k, ld_);
      read(of.value[head], n, dim, v, ld_);
      transpose(q, ld_, n, dim, qt, wide_);
      multiply(k, ld_, 1, qt, wide_, n, wide_, dim, s, wide_);
      for (int64_t i = 0; i < n; i += kLanes)
        softmax(s, i, n, wide_, of_.scale, of_.window, inverse);
      if (keep) drop(s, n, wide_, inverse, of_.dropout, of.place + place, of.weights + place);
      multiply(s, 1, wide_, v, ld_, n, ld_, n, o, ld_);
      write(o, ld_, n, dim, [&](int64_t i) { return keep ? 1.0f : inverse[i]; }, out[head]);
    }
  }

  // `sums` has room for (3, heads, dim rounded up to 16).
  void backward(const Sequence<T>& of, Heads<const T> grad, const Heads<T> (&outs)[3],
                float* sums) {
    wide_ = padded(of.length);
    for (int64_t head = 0; head < of_.heads; ++head, sums += ld_) {
      space_.restart();
      float *q = tall(), *k = tall(), *v = tall(), *g = tall(), *gt = tall(), *into = tall();
      float *p = square(), *d = square();
      const int64_t n = of.length, dim = of_.dim, apart = of_.heads * ld_;
      const auto scale = [&](int64_t) { return of_.scale; };
      read(of.query[head], n, dim, q, ld_);
      read(of.key[head], n, dim, k, ld_);
      read(of.value[head], n, dim, v, ld_);
      read(grad[head], n, dim, g, ld_);
      read(Block<const T>{of.weights + head * n * n, n}, n, n, p, wide_);
      transpose(g, ld_, n, dim, gt, wide_);
      multiply(v, ld_, 1, gt, wide_, n, wide_, dim, d, wide_);
      through_softmax(p, d, n, wide_, of_.dropout.kept);
      multiply(d, 1, wide_, k, ld_, n, ld_, n, into, ld_);
      write(into, ld_, n, dim, scale, outs[0][head], sums);
      multiply(d, wide_, 1, q, ld_, n, ld_, n, into, ld_);
      write(into, ld_, n, dim, scale, outs[1][head], sums + apart);
      multiply(p, wide_, 1, g, ld_, n, ld_, n, into, ld_);
      write(into, ld_, n, dim, [](int64_t) { return 1.0f; }, outs[2][head], sums + 2 * apart);
    }
  }

 private:
  static int64_t square(int64_t length) { return padded(length) * padded(length); }
  float* tall() { return space_.take<float>(wide_ * ld_); }  // (length, dim) or (dim, length)
  float* square() { return space_.take<float>(wide_ * wide_); }

  const Settings& of_;
  const int64_t ld_;
  int64_t wide_ = 0;
  Workspace space_;
};

#ifdef SIMCSE_AMX

// In bf16 by tiles; sums, softmax and dropout in fp32.
class InTiles {
 public:
  InTiles(const Settings& of, int64_t longest)
      : of_(of), deep_(tiled(of.dim)), space_(floats(tiled(longest))) {}

  void forward(const Sequence<BFloat16>& of, bool keep, Heads<BFloat16> out) {
    start(of.length);
    const int64_t n = length_, dim = of_.dim;
    BFloat16 *k = states(), *left = weights();
    uint32_t *qt = pairs(), *v = pairs();
    float *s = square(), *o = tall(), *inverse = space_.take<float>(wide_);
    const auto scale = [&](int64_t query) { return keep ? 1.0f : inverse[query]; };
    for (int64_t head = 0; head < of_.heads; ++head) {
      const int64_t place = head * n * n;
      gather(of.key[head], n, dim, k);
      pair_columns(of.query[head], n, dim, qt);
      multiply_tiles(k, qt, wide_, wide_, deep_, s);
      pair_rows(of.value[head], n, dim, v);
      for (int64_t i = 0; i < n; i += kLanes)
        softmax(s, i, n, wide_, of_.scale, of_.window, inverse);
      if (keep) drop(s, n, wide_, inverse, of_.dropout, of.place + place, of.weights + place);
      narrow_transposed(s, wide_, left);
      multiply_tiles(left, v, wide_, deep_, wide_, o);
      write(o, deep_, n, dim, scale, out[head]);
    }
  }

  // `sums` has room for (3, heads, dim rounded up to 16).
  void backward(const Sequence<BFloat16>& of, Heads<const BFloat16> grad,
                const Heads<BFloat16> (&outs)[3], float* sums) {
    start(of.length);
    const int64_t n = length_, dim = of_.dim, ld = padded(dim), apart = of_.heads * ld;
    BFloat16 *v = states(), *left = weights();
    uint32_t *gt = pairs(), *right = pairs();
    float *p = square(), *d = square(), *into = tall();
    std::fill_n(p, wide_ * wide_, 0.0f);  // beyond the sequence it stays so
    const auto product = [&](Block<const BFloat16> by, float scale, Block<BFloat16> to,
                             float* summed) {
      pair_rows(by, n, dim, right);
      multiply_tiles(left, right, wide_, deep_, wide_, into);
      write(into, deep_, n, dim, [&](int64_t) { return scale; }, to, summed);
    };
    for (int64_t head = 0; head < of_.heads; ++head, sums += ld) {
      gather(of.value[head], n, dim, v);
      pair_columns(grad[head], n, dim, gt);
      multiply_tiles(v, gt, wide_, wide_, deep_, d);
      read(Block<const BFloat16>{of.weights + head * n * n, n}, n, n, p, wide_);
      through_softmax(p, d, n, wide_, of_.dropout.kept);
      narrow(p, wide_, left);
      product(grad[head], 1.0f, outs[2][head], sums + 2 * apart);
      narrow(d, wide_, left);
      product(of.query[head], of_.scale, outs[1][head], sums + apart);
      narrow_transposed(d, wide_, left);
      product(of.key[head], of_.scale, outs[0][head], sums);
    }
  }

 private:
  void start(int64_t length) {
    length_ = length;
    wide_ = tiled(length);
    space_.restart();
  }
  // What a way through takes at most: of squares two and a half, and a row.
  int64_t floats(int64_t wide) const { return 3 * wide * wide + 3 * wide * deep_ + wide; }
  BFloat16* states() { return space_.take<BFloat16>(wide_ * deep_); }
  BFloat16* weights() { return space_.take<BFloat16>(wide_ * wide_); }
  uint32_t* pairs() { return space_.take<uint32_t>(wide_ * deep_ / 2); }
  float* square() { return space_.take<float>(wide_ * wide_); }
  float* tall() { return space_.take<float>(wide_ * deep_); }

  const Settings& of_;
  const int64_t deep_;
  int64_t length_ = 0, wide_ = 0;
  Workspace space_;
  Tiles tiles_;
};

#endif

// use(Kind) with the kind of task for this type of states, in a type's clothes.
template <typename T>
struct Kind {
  using type = T;
};

template <typename T, typename Use>
void with_kind(const Use& use) {
#ifdef SIMCSE_AMX
  if constexpr (std::is_same_v<T, BFloat16>)
    if (amx_granted()) return use(Kind<InTiles>());
#endif
  use(Kind<InFloats<T>>());
}

void check(const at::Tensor& states, const Layout& layout) {
  TORCH_CHECK(states.dim() == 3 && states.size(0) >= layout.tokens && states.stride(2) == 1,
              "attention: states must be (tokens or more, heads, dim) and dense in dim");
}

template <typename T>
Sequence<T> sequence_of(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                        T* weights, const Layout& layout, int64_t number) {
  const int64_t token = layout.token[number], place = layout.weight[number];
  return {layout.length[number],           heads_of<const T>(query, token),
          heads_of<const T>(key, token),   heads_of<const T>(value, token),
          weights + place,                 place};
}

// Rows after the last sequence fill the row up: they attend to nothing.
void clear_beyond(at::Tensor& states, int64_t tokens) {
  if (states.size(0) > tokens) states.narrow(0, tokens, states.size(0) - tokens).zero_();
}

std::tuple<at::Tensor, at::Tensor> attention(const at::Tensor& query, const at::Tensor& key,
                                             const at::Tensor& value, const at::Tensor& lengths,
                                             std::optional<int64_t> seed, double rate,
                                             double scale, int64_t window, bool keep_weights) {
  const int64_t heads = query.size(1), dim = query.size(2);
  const Layout layout(lengths, heads);
  for (const at::Tensor* states : {&query, &key, &value}) check(*states, layout);
  const Settings of{heads, dim, static_cast<float>(scale), window, Dropout(seed, rate)};
  at::Tensor out = at::empty({query.size(0), heads, dim}, query.options());
  clear_beyond(out, layout.tokens);
  at::Tensor weights = at::empty({keep_weights ? layout.weights : 0}, query.options());
  SIMCSE_DISPATCH(query.scalar_type(), "attention", [&] {
    scalar_t* stored = weights.mutable_data_ptr<scalar_t>();
    with_kind<scalar_t>([&](auto kind) {
      layout.each([&] {
        using Tasks = typename decltype(kind)::type;
        return [&, tasks = Tasks(of, layout.longest)](int64_t number) mutable {
          const int64_t token = layout.token[number];
          const auto sequence = sequence_of(query, key, value, stored, layout, number);
          tasks.forward(sequence, keep_weights, heads_of<scalar_t>(out, token));
        };
      });
    });
  });
  return {out, weights};
}

// Gradients of query, key and value beside each other, (tokens, 3, heads, dim), as one product over
// all three projections takes them, and their float sums over the tokens, (3, heads, dim).
std::tuple<at::Tensor, at::Tensor> attention_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key,
    const at::Tensor& value, const at::Tensor& weights, const at::Tensor& lengths, double rate,
    double scale) {
  const int64_t heads = query.size(1), dim = query.size(2), ld = padded(dim);
  const Layout layout(lengths, heads);
  for (const at::Tensor* states : {&grad, &query, &key, &value}) check(*states, layout);
  const Settings of{heads, dim, static_cast<float>(scale), 0, Dropout(0, rate)};
  at::Tensor joint = at::empty({query.size(0), 3, heads, dim}, query.options());
  clear_beyond(joint, layout.tokens);
  const at::Tensor parts[] = {joint.select(1, 0), joint.select(1, 1), joint.select(1, 2)};
  at::Tensor sums =
      at::zeros({at::get_num_threads(), 3, heads, ld}, query.options().dtype(at::kFloat));
  float* summed = sums.mutable_data_ptr<float>();
  SIMCSE_DISPATCH(query.scalar_type(), "attention_backward", [&] {
    scalar_t* stored = const_cast<scalar_t*>(weights.const_data_ptr<scalar_t>());
    with_kind<scalar_t>([&](auto kind) {
      layout.each([&] {
        using Tasks = typename decltype(kind)::type;
        float* own = summed + at::get_thread_num() * 3 * heads * ld;
        return [&, own, tasks = Tasks(of, layout.longest)](int64_t number) mutable {
          const int64_t token = layout.token[number];
          const auto sequence = sequence_of(query, key, value, stored, layout, number);
          const Heads<scalar_t> outs[] = {heads_of<scalar_t>(parts[0], token),
                                          heads_of<scalar_t>(parts[1], token),
                                          heads_of<scalar_t>(parts[2], token)};
          tasks.backward(sequence, heads_of<const scalar_t>(grad, token), outs, own);
        };
      });
    });
  });
  return {joint, sums.sum(0).narrow(2, 0, dim)};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(simcse_kit, m) {
  m.def(
      "attention(Tensor query, Tensor key, Tensor value, Tensor lengths, int? seed, float rate, "
      "float scale, int window, bool keep_weights=True) -> (Tensor, Tensor)");
  m.impl("attention", c10::DispatchKey::CPU, TORCH_FN(attention));
  m.def(
      "attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor weights, "
      "Tensor lengths, float rate, float scale) -> (Tensor, Tensor)");
  m.impl("attention_backward", c10::DispatchKey::CPU, TORCH_FN(attention_backward));
}

}  // namespace simcse
