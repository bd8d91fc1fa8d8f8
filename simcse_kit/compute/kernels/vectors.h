// What the kernels share: sixteen floats at a time, and bf16 in memory as float in registers.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include <ATen/Dispatch.h>
#include <c10/util/BFloat16.h>

// Run a body with `scalar_t` the tensor's type: fp32 or bf16.
#define SIMCSE_DISPATCH(TYPE, NAME, ...)                                                \
  AT_DISPATCH_SWITCH(TYPE, NAME, AT_DISPATCH_CASE(at::kFloat, __VA_ARGS__)              \
                                     AT_DISPATCH_CASE(at::kBFloat16, __VA_ARGS__))

namespace simcse {

constexpr int64_t kLanes = 16;
constexpr int64_t kRows = 16;  // of a matrix, a thread's smallest share
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

inline Lanes larger(Lanes a, Lanes b) {
#ifdef __AVX512F__  // compilers make two instructions of it
  return reinterpret_cast<Lanes>(
      _mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#else
  return a > b ? a : b;
#endif
}

inline float sum(Lanes lanes) {
  float total = 0;
  for (int64_t j = 0; j < kLanes; ++j) total += lanes[j];
  return total;
}

inline void store(float* to, Lanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

inline WordLanes words(HalfLanes halves) {
#ifdef __AVX512F__
  return reinterpret_cast<WordLanes>(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(halves)));
#else
  return __builtin_convertvector(halves, WordLanes);
#endif
}

inline Lanes widened(HalfLanes halves) { return reinterpret_cast<Lanes>(words(halves) << 16); }

inline HalfLanes load_halves(const void* from) {
  HalfLanes halves;
  std::memcpy(&halves, from, sizeof halves);
  return halves;
}

inline Lanes load(const c10::BFloat16* from) { return widened(load_halves(from)); }

// Round to nearest, ties to even; where the processor does it, numbers under 2^-126 become 0. A
// NaN stays one: those that arithmetic makes have their upper mantissa bit set, so rounding
// cannot carry through the exponent.
inline HalfLanes rounded(Lanes lanes) {
  HalfLanes halves;
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
  const __m256bh found = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(lanes));
  std::memcpy(&halves, &found, sizeof halves);
#else
  WordLanes words;
  std::memcpy(&words, &lanes, sizeof words);
  words = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
  halves = __builtin_convertvector(words, HalfLanes);
#endif
  return halves;
}

inline void store(c10::BFloat16* to, Lanes lanes) {
  const HalfLanes halves = rounded(lanes);
  std::memcpy(to, &halves, sizeof halves);
}

// Ask for what a pass over memory comes to some 2 kB later: processors that are shared out do not
// always look ahead by themselves. Asking beyond an array's end is harmless.
template <typename T>
inline void ahead(const T* place) {
  __builtin_prefetch(reinterpret_cast<const char*>(place) + 2048);
}
template <typename T>
inline void ahead(T* place) {
  __builtin_prefetch(reinterpret_cast<char*>(place) + 2048, 1);
}

// The first `count` lanes alone; the others read as 0.
#if defined(__AVX512BW__) && defined(__AVX512VL__)
inline __mmask16 first(int64_t count) {
  return count >= kLanes ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

inline Lanes load(const float* from, int64_t count) {
  return reinterpret_cast<Lanes>(_mm512_maskz_loadu_ps(first(count), from));
}

inline Lanes load(const c10::BFloat16* from, int64_t count) {
  return widened(reinterpret_cast<HalfLanes>(_mm256_maskz_loadu_epi16(first(count), from)));
}

inline void store(float* to, Lanes lanes, int64_t count) {
  _mm512_mask_storeu_ps(to, first(count), reinterpret_cast<__m512>(lanes));
}

inline void store(c10::BFloat16* to, Lanes lanes, int64_t count) {
  _mm256_mask_storeu_epi16(to, first(count), reinterpret_cast<__m256i>(rounded(lanes)));
}
#else
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
#endif

// Swap, between two rows of a square of sixteen, the lanes that differ in bit S.
template <int S, typename Row, size_t... I>
inline void exchange(Row& a, Row& b, std::index_sequence<I...>) {
  const Row low = __builtin_shufflevector(a, b, ((I & S) ? 16 + I - S : I)...);
  b = __builtin_shufflevector(a, b, ((I & S) ? 16 + I : I + S)...);
  a = low;
}

template <int S, typename Row>
inline void exchange_all(Row (&rows)[kLanes]) {
  for (int i = 0; i < kLanes; ++i)
    if ((i & S) == 0) exchange<S>(rows[i], rows[i + S], std::make_index_sequence<kLanes>());
}

// Transpose a square of sixteen rows of sixteen.
template <typename Row>
inline void turn(Row (&rows)[kLanes]) {
  exchange_all<8>(rows);
  exchange_all<4>(rows);
  exchange_all<2>(rows);
  exchange_all<1>(rows);
}

// Dropout's draws: a counter-based generator, so that any thread finds an element's draw anywhere,
// and the backward pass finds the forward's. A 32-bit integer hash (Wellons' lowbias32), keyed
// with 64 bits of the seed: half before its first multiplication and half before its second.
struct Dropout {
  Dropout(std::optional<int64_t> seed, double rate)
      : on(seed.has_value() && rate > 0),
        first(static_cast<uint32_t>(mixed(seed.value_or(0)))),
        second(static_cast<uint32_t>(mixed(seed.value_or(0)) >> 32)),
        dropped(static_cast<uint32_t>(rate * 4294967296.0)),
        kept(static_cast<float>(4294967296.0 / (4294967296.0 - dropped))) {}

  // 1/(1 - rate) where elements `place` to `place + 15` are kept, 0 where they are dropped.
  Lanes mask(int64_t place) const {
    WordLanes x = WordLanes{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} +
                  static_cast<uint32_t>(place);
    x ^= first;
    x = (x ^ (x >> 16)) * 0x7feb352du ^ second;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    x ^= x >> 16;
    return x >= dropped ? Lanes{} + kept : Lanes{};
  }

  const bool on;

 private:
  // Seeds that are alike make keys that are not (the finalizer of splitmix64).
  static uint64_t mixed(uint64_t seed) {
    seed = (seed + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111ebu;
    return seed ^ (seed >> 31);
  }
  const uint32_t first, second, dropped;

 public:
  const float kept;
};

// 2^x for x <= 0, relative error under 3e-7; 0 from 2^-100 down, for numbers too small to be normal
// take a processor a hundred times as long (least squares at Chebyshev nodes).
inline Lanes power_of_two(Lanes x) {
#ifdef __AVX512F__
  const __m512 given = reinterpret_cast<__m512>(x);
  const __m512 whole = _mm512_roundscale_ps(given, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Lanes r = reinterpret_cast<Lanes>(given - whole);
#else
  const Lanes near = x <= -100.0f ? Lanes{} - 100.0f : x;
  const IntLanes whole = __builtin_convertvector(near - 0.5f, IntLanes);  // truncated: the nearest
  const Lanes r = near - __builtin_convertvector(whole, Lanes);
#endif
  Lanes p = Lanes{} + 1.3266970636e-3f;
  p = p * r + 9.6754599363e-3f;
  p = p * r + 5.5507425219e-2f;
  p = p * r + 2.4022121727e-1f;
  p = p * r + 6.9314694405e-1f;
  p = p * r + 1.0000001192f;
#ifdef __AVX512F__
  const __mmask16 some = _mm512_cmp_ps_mask(given, _mm512_set1_ps(-100.0f), _CMP_NLE_UQ);
  return reinterpret_cast<Lanes>(
      _mm512_maskz_scalef_ps(some, reinterpret_cast<__m512>(p), whole));
#else
  const IntLanes exponent = (whole + 127) << 23;
  Lanes power;
  std::memcpy(&power, &exponent, sizeof power);
  return x <= -100.0f ? Lanes{} : p * power;
#endif
}

// x times a polynomial in u = 2 x²/25 - 1, for several x at a time: each step of a polynomial waits
// for the one before.
template <int N, size_t Terms>
inline void odd(const Lanes (&x)[N], const Lanes (&u)[N], const float (&powers)[Terms],
                Lanes (&y)[N]) {
  for (int k = 0; k < N; ++k) y[k] = Lanes{} + powers[0];
  for (size_t term = 1; term < Terms; ++term)
    for (int k = 0; k < N; ++k) y[k] = y[k] * u[k] + powers[term];
  for (int k = 0; k < N; ++k) y[k] *= x[k];
}

// Phi(x), whose product with x is GELU, and GELU's derivative Phi(x) + x phi(x): a half and an odd
// function each (least squares at Chebyshev nodes, |x| <= 5; beyond, they are those of 5). Absolute
// error of GELU under 3e-6 (|x| <= 12), of the derivative under 1.2e-5.
constexpr float kPhi[] = {0.000583855444f, -0.00160097051f, 0.00179127875f, -0.00271631791f,
                          0.00634037485f,  -0.0111366638f,  0.0164349611f,  -0.0232794187f,
                          0.0314353271f,   -0.0404409245f,  0.0515210371f,  -0.0702963528f,
                          0.141363781f};
constexpr float kSlope[] = {0.0097476683f,  -0.0244107615f, 0.0191263578f, -0.0185007832f,
                            0.0499539126f,  -0.076740624f,  0.0813064132f, -0.0821334916f,
                            0.0800736153f,  -0.0720447791f, 0.0665920857f, -0.0751012627f,
                            0.142133531f};

template <int N>
struct Gelu {
  explicit Gelu(const Lanes (&x)[N]) {
    for (int k = 0; k < N; ++k) {
      const Lanes above = x[k] < -5.0f ? Lanes{} - 5.0f : x[k];
      near[k] = above > 5.0f ? Lanes{} + 5.0f : above;
      u[k] = near[k] * near[k] * 0.08f - 1.0f;
    }
  }
  void phi(Lanes (&y)[N]) const { odd(near, u, kPhi, y); half(y); }
  void slope(Lanes (&y)[N]) const { odd(near, u, kSlope, y); half(y); }

 private:
  static void half(Lanes (&y)[N]) {
    for (int k = 0; k < N; ++k) y[k] += 0.5f;
  }
  Lanes near[N], u[N];
};

}  // namespace simcse
