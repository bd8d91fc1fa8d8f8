// What the kernels share: sixteen floats at a time, and bf16 in memory as float in registers.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>

#include <ATen/Dispatch.h>
#include <c10/util/BFloat16.h>

// Run a body with `scalar_t` the tensor's type: fp32 or bf16.
#define SIMCSE_DISPATCH(TYPE, NAME, ...)                                                \
  AT_DISPATCH_SWITCH(TYPE, NAME, AT_DISPATCH_CASE(at::kFloat, __VA_ARGS__)              \
                                     AT_DISPATCH_CASE(at::kBFloat16, __VA_ARGS__))

namespace simcse {

constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t IntLanes __attribute__((vector_size(64)));
typedef uint32_t WordLanes __attribute__((vector_size(64)));
typedef uint16_t HalfLanes __attribute__((vector_size(32)));

inline int64_t padded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

inline Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

inline Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }

inline float sum(Lanes lanes) {
  float total = 0;
  for (int64_t j = 0; j < kLanes; ++j) total += lanes[j];
  return total;
}

inline void store(float* to, Lanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

inline Lanes load(const c10::BFloat16* from) {
  HalfLanes halves;
  std::memcpy(&halves, from, sizeof halves);
  const WordLanes words = __builtin_convertvector(halves, WordLanes) << 16;
  Lanes lanes;
  std::memcpy(&lanes, &words, sizeof lanes);
  return lanes;
}

// Round to nearest, ties to even. A NaN stays one: those that arithmetic makes have their upper
// mantissa bit set, so rounding cannot carry through the exponent.
inline void store(c10::BFloat16* to, Lanes lanes) {
  WordLanes words;
  std::memcpy(&words, &lanes, sizeof words);
  words = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
  const HalfLanes halves = __builtin_convertvector(words, HalfLanes);
  std::memcpy(to, &halves, sizeof halves);
}

// The first `count` lanes alone; the others read as 0.
template <typename T>
inline Lanes load(const T* from, int64_t count) {
  if (count >= kLanes) return load(from);
  T some[kLanes] = {};
  std::memcpy(some, from, count * sizeof(T));
  return load(some);
}

template <typename T>
inline void store(T* to, Lanes lanes, int64_t count) {
  if (count >= kLanes) return store(to, lanes);
  T some[kLanes];
  store(some, lanes);
  std::memcpy(to, some, count * sizeof(T));
}

// Dropout's draws: a counter-based generator, so that any thread finds an element's draw anywhere,
// and the backward pass finds the forward's. Two rounds of a 32-bit integer hash (Wellons'
// lowbias32), keyed with 62 random bits.
struct Dropout {
  Dropout(std::optional<int64_t> seed, double rate)
      : on(seed.has_value() && rate > 0),
        first(static_cast<uint32_t>(seed.value_or(0))),
        second(static_cast<uint32_t>(seed.value_or(0) >> 32)),
        dropped(static_cast<uint32_t>(rate * 4294967296.0)),
        kept(static_cast<float>(4294967296.0 / (4294967296.0 - dropped))) {}

  // 1/(1 - rate) where elements `place` to `place + 15` are kept, 0 where they are dropped.
  Lanes mask(int64_t place) const {
    WordLanes x = WordLanes{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} +
                  static_cast<uint32_t>(place);
    x = hash(hash(x ^ first) ^ second);
    return x >= dropped ? Lanes{} + kept : Lanes{};
  }

  const bool on;

 private:
  static WordLanes hash(WordLanes x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
  }
  const uint32_t first, second, dropped;

 public:
  const float kept;
};

// e^x for x <= 0 or moderate x, relative error under 2e-7: 2^n * e^r with |r| <= ln2/2
// (the polynomial is Cephes' expf).
inline Lanes exponential(Lanes x) {
  x = x < -87.0f ? Lanes{} - 87.0f : x;
  x = x > 88.0f ? Lanes{} + 88.0f : x;
  // truncation after adding a half (and an offset that keeps it positive) rounds to the nearest
  const Lanes turns = x * 1.44269504088896341f;
  const IntLanes whole = __builtin_convertvector(turns + 256.5f, IntLanes) - 256;
  const Lanes n = __builtin_convertvector(whole, Lanes);
  const Lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Lanes p = Lanes{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntLanes exponent = (whole + 127) << 23;
  Lanes power;
  std::memcpy(&power, &exponent, sizeof power);
  return p * power;
}


}  // namespace simcse
