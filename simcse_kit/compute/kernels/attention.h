// What attention's products are made between: where sequences lie, softmax, and its way back.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include "vectors.h"

namespace simcse {

// One head of one sequence in a packed tensor: rows `stride` apart.
template <typename T>
struct Block {
  T* start;
  int64_t stride;
};

// All heads of one sequence, `step` apart.
template <typename T>
struct Heads {
  T* start;
  int64_t stride, step;
  Block<T> operator[](int64_t head) const { return {start + head * step, stride}; }
};

template <typename T>
Heads<T> heads_of(const at::Tensor& states, int64_t token) {
  using Plain = std::remove_const_t<T>;
  T* start;
  if constexpr (std::is_const_v<T>)
    start = states.const_data_ptr<Plain>();
  else
    start = states.mutable_data_ptr<Plain>();
  return {start + token * states.stride(0), states.stride(0), states.stride(1)};
}

template <typename T>
void read(Block<const T> from, int64_t rows, int64_t columns, float* to, int64_t ld) {
  for (int64_t i = 0; i < rows; ++i) {
    __builtin_prefetch(from.start + i * from.stride + columns);  // the next head's row
    for (int64_t j = 0; j < columns; j += kLanes)
      store(to + i * ld + j, load(from.start + i * from.stride + j, columns - j));
  }
}

// Row i times scale(i). Where `sums` are given, the columns' sums are added to them; they too have
// room for sixteens.
template <typename T, typename Scale>
void write(const float* from, int64_t ld, int64_t rows, int64_t columns, const Scale& scale,
           Block<T> to, float* sums = nullptr) {
  for (int64_t i = 0; i < rows; ++i) {
    __builtin_prefetch(to.start + i * to.stride + columns, 1);
    for (int64_t j = 0; j < columns; j += kLanes) {
      const Lanes lanes = scale(i) * load(from + i * ld + j);
      store(to.start + i * to.stride + j, lanes, columns - j);
      if (sums) store(sums + j, load(sums + j) + lanes);
    }
  }
}

// A thread's matrices, zeroed once: what lies beyond a sequence is finite and never read into it.
class Workspace {
 public:
  explicit Workspace(int64_t floats) : memory_(floats + kLanes) { restart(); }
  void restart() {
    const auto start = reinterpret_cast<uintptr_t>(memory_.data());
    next_ = memory_.data() + (-start % sizeof(Lanes)) / sizeof(float);
  }
  // So many elements, a multiple of sixteen floats in size.
  template <typename T>
  T* take(int64_t size) {
    T* taken = reinterpret_cast<T*>(next_);
    next_ += size * sizeof(T) / sizeof(float);
    return taken;
  }

 private:
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
  // body(sequence) for all of them, with a body that `make` makes for every thread. Sequences come
  // shortest first: taking them from both ends in turn gives every thread short and long ones.
  template <typename Make>
  void each(const Make& make) const {
    const int64_t count = static_cast<int64_t>(length.size());
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      auto body = make();
      for (int64_t task = begin; task < end; ++task)
        body(task % 2 ? count - 1 - task / 2 : task / 2);
    });
  }
  int64_t heads, tokens = 0, weights = 0, longest = 0;
  std::vector<int64_t> length, token, weight;
};

// Sixteen queries' softmax but for its division: `scores`, a row a key with queries along it, become
// powers, and `inverse` what they are to be multiplied with. Keys that a query does not see (window)
// weigh nothing.
inline void softmax(float* scores, int64_t query, int64_t n, int64_t ld, float scale,
                    int64_t window, float* inverse) {
  if (window < n) {
    for (int64_t key = 0; key < n; ++key)
      for (int64_t i = query; i < query + kLanes; ++i)
        if (std::abs(i - key) >= window && i < n) scores[key * ld + i] = -INFINITY;
  }
  float* column = scores + query;
  Lanes top = load(column), other = top, sum = {};
  for (int64_t key = 1; key + 1 < n; key += 2) {
    top = larger(top, load(column + key * ld));
    other = larger(other, load(column + (key + 1) * ld));
  }
  top = larger(larger(top, other), load(column + (n - 1) * ld));
  const float turns = scale * 1.44269504088896341f;  // e^x = 2^(x log2 e)
  for (int64_t key = 0; key < n; ++key) {
    const Lanes power = power_of_two((load(column + key * ld) - top) * turns);
    sum += power;
    store(column + key * ld, power);
  }
  store(inverse + query, 1.0f / sum);
}

// Divide, store the weights (n, n), negative where dropped, and leave them as attention uses them.
template <typename T>
inline void drop(float* scores, int64_t n, int64_t ld, const float* inverse,
                 const Dropout& dropout, int64_t place, T* weights) {
  for (int64_t key = 0; key < n; ++key, scores += ld, place += n, weights += n)
    for (int64_t j = 0; j < n; j += kLanes) {
      const Lanes weight = load(scores + j) * load(inverse + j);
      if (!dropout.on) {
        store(weights + j, weight, n - j);
        store(scores + j, weight);
        continue;
      }
      const Lanes mask = dropout.mask(place + j);
      store(weights + j, mask > 0.0f ? weight : -weight, n - j);
      store(scores + j, mask * weight);
    }
}

// With P the weights, M their mask: dV = (M∘P)ᵀ dO, dP = M∘(dO Vᵀ), dS = P∘(dP − rowsum(P∘dP)),
// dQ = s·dS K, dK = s·dSᵀ Q. Everything lies a row a key. In: `p` holds stored weights, `d` holds
// V dOᵀ; out: M∘P and dS.
inline void through_softmax(float* p, float* d, int64_t n, int64_t ld, float kept) {
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

}  // namespace simcse
