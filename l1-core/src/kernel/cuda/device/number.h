// The numbers that formulas are written in, as in `scalar.rs`: float and double, whatever a tensor stores.
#pragma once

#if defined(__CUDACC__)
#define L1_FN __device__ __forceinline__
#define L1_CALL __device__ __noinline__
#else
// Plain C++: for the tests, on machines without a GPU.
#include <math.h>
#include <string.h>
#define L1_FN inline
#define L1_CALL inline
#endif

namespace l1 {

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// A 16-bit float that is stored; its arithmetic is done in float.
struct bf16 {
    u16 bits;
};
struct f16 {
    u16 bits;
};

#if defined(__CUDACC__)
L1_FN float from_bits(u32 bits) { return __uint_as_float(bits); }
L1_FN u32 to_bits(float x) { return __float_as_uint(x); }
L1_FN double from_bits(u64 bits) { return __longlong_as_double((long long)bits); }
L1_FN u64 to_bits(double x) { return (u64)__double_as_longlong(x); }
#else
template <class To, class From>
inline To same_bits(From from) {
    To to;
    static_assert(sizeof(To) == sizeof(From), "of one size");
    memcpy(&to, &from, sizeof(to));
    return to;
}
inline float from_bits(u32 bits) { return same_bits<float>(bits); }
inline u32 to_bits(float x) { return same_bits<u32>(x); }
inline double from_bits(u64 bits) { return same_bits<double>(bits); }
inline u64 to_bits(double x) { return same_bits<u64>(x); }
#endif

// What differs between the two types of the arithmetic.
template <class R>
struct Numbers;

template <>
struct Numbers<float> {
    static L1_FN float vast() { return 1e35f; }
    static L1_FN float largest() { return 3.402823466e38f; }
    static L1_FN float largest_with_square() { return 1e18f; }
    static L1_FN double epsilon() { return 1.1920928955078125e-7; }
    static L1_FN float infinity() { return from_bits(u32(0x7f800000)); }
    static L1_FN float nan() { return from_bits(u32(0x7fc00000)); }
    // Steps of Newton's method that lead from a relative error of 1e-4 down to rounding.
    static const int NEWTON = 1;
    // The bits of a float are nearly a line over its logarithm (Blinn 1997).
    static L1_FN float near_inverse_sqrt(float x) { return from_bits(u32(0x5f3759df - to_bits(x) / 2)); }
    static L1_FN float near_inverse_cbrt(float x) { return from_bits(u32(0x54a21d2a - to_bits(x) / 3)); }
};

template <>
struct Numbers<double> {
    static L1_FN double vast() { return 1e300; }
    static L1_FN double largest() { return 1.7976931348623157e308; }
    static L1_FN double largest_with_square() { return 1e153; }
    static L1_FN double epsilon() { return 2.220446049250313e-16; }
    static L1_FN double infinity() { return from_bits(u64(0x7ff0000000000000)); }
    static L1_FN double nan() { return from_bits(u64(0x7ff8000000000000)); }
    static const int NEWTON = 3;
    static L1_FN double near_inverse_sqrt(double x) { return from_bits(u64(0x5fe6eb50c7b537a9 - to_bits(x) / 2)); }
    static L1_FN double near_inverse_cbrt(double x) { return from_bits(u64(0x553ef0ff289dd796 - to_bits(x) / 3)); }
};

#define L1_BOTH(name, of_float, of_double)            \
    L1_FN float name(float x) { return of_float(x); } \
    L1_FN double name(double x) { return of_double(x); }
#define L1_BOTH2(name, of_float, of_double)                       \
    L1_FN float name(float a, float b) { return of_float(a, b); } \
    L1_FN double name(double a, double b) { return of_double(a, b); }

L1_BOTH(magnitude, fabsf, fabs)
L1_BOTH(root_of, sqrtf, sqrt)
L1_BOTH(cube_root, cbrtf, cbrt)
L1_BOTH(ln_1p, log1pf, log1p)
L1_BOTH2(with_sign, copysignf, copysign)
L1_BOTH2(power, powf, pow)
// A NaN is passed over, as by Rust's `min` and `max`.
L1_BOTH2(smaller, fminf, fmin)
L1_BOTH2(larger, fmaxf, fmax)

template <class R>
L1_FN bool is_nan(R x) {
    return x != x;
}

template <class R>
L1_FN bool is_infinite(R x) {
    return magnitude(x) == Numbers<R>::infinity();
}

template <class R>
L1_FN bool is_finite(R x) {
    return magnitude(x) <= Numbers<R>::largest();
}

// Neither 0, subnormal, infinite nor NaN.
L1_FN bool is_normal(double x) { return magnitude(x) >= 2.2250738585072014e-308 && is_finite(x); }

// 1/√x within a few roundings for a normal x > 0, anything for another.
template <class R>
L1_FN R inverse_sqrt(R x) {
    const R half = R(0.5) * x;
    R y = Numbers<R>::near_inverse_sqrt(x);
#pragma unroll
    for (int i = 0; i < 2 + Numbers<R>::NEWTON; ++i) y = y * (R(1.5) - half * y * y);
    return y;
}

// 1/∛x likewise.
template <class R>
L1_FN R inverse_cbrt(R x) {
    const R third = R(1.0 / 3.0) * x;
    R y = Numbers<R>::near_inverse_cbrt(x);
#pragma unroll
    for (int i = 0; i < 2 + Numbers<R>::NEWTON; ++i) y = y * (R(4.0 / 3.0) - third * y * y * y);
    return y;
}

// ---- what tensors store

template <class T>
struct Element;

template <>
struct Element<float> {
    typedef float Real;
    static L1_FN float load(float x) { return x; }
    static L1_FN float store(float x) { return x; }
};

template <>
struct Element<double> {
    typedef double Real;
    static L1_FN double load(double x) { return x; }
    static L1_FN double store(double x) { return x; }
};

template <>
struct Element<bf16> {
    typedef float Real;
    static L1_FN float load(bf16 x) { return from_bits(u32(x.bits) << 16); }
    // To the nearest, ties to even.
    static L1_FN bf16 store(float x) {
        const u32 bits = to_bits(x);
        bf16 result;
        result.bits = is_nan(x) ? u16(bits >> 16) | u16(0x40) : u16((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
        return result;
    }
};

#if defined(__CUDACC__)
template <>
struct Element<f16> {
    typedef float Real;
    static L1_FN float load(f16 x) {
        float result;
        asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x.bits));
        return result;
    }
    static L1_FN f16 store(float x) {
        f16 result;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
        return result;
    }
};
#else
template <>
struct Element<f16> {
    typedef float Real;
    static float load(f16 x) {
        const u32 sign = u32(x.bits & 0x8000) << 16, exponent = (x.bits >> 10) & 31, fraction = x.bits & 0x3ff;
        if (exponent == 31) return from_bits(sign | 0x7f800000 | (fraction << 13));
        // Subnormal ones are multiples of 2⁻²⁴.
        if (exponent == 0) return with_sign(float(fraction) * 5.9604644775390625e-8f, from_bits(sign | 0x3f800000));
        return from_bits(sign | ((exponent + 112) << 23) | (fraction << 13));
    }
    static f16 store(float x) {
        const u32 bits = to_bits(x), sign = (bits >> 16) & 0x8000;
        const float size = magnitude(x);
        f16 result;
        if (is_nan(x)) {
            result.bits = u16(sign | 0x7e00);
        } else if (size >= 65520.0f) {
            result.bits = u16(sign | 0x7c00);
        } else if (size < 6.103515625e-5f) {
            result.bits = u16(sign | u32(nearbyintf(size * 16777216.0f)));
        } else {
            const u32 rounded = (bits & 0x7fffffff) + 0xfff + ((bits >> 13) & 1);
            result.bits = u16(sign | ((rounded >> 13) - (112u << 10)));
        }
        return result;
    }
};
#endif

}  // namespace l1
