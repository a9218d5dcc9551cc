// What a kernel translated to C++ is written with: numbers, and calls of the runtime (runtime.cpp).
#include <stdint.h>
#include <string.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
typedef float f32; typedef double f64;
typedef unsigned __int128 u128; typedef __int128 s128;

// Numbers.
template <class To, class From> static inline To as_(From x) { To r; memcpy(&r, &x, sizeof r); return r; }
static inline f32 asf(u32 x) { return as_<f32>(x); }
static inline u32 asu(f32 x) { return as_<u32>(x); }
static inline f64 asd(u64 x) { return as_<f64>(x); }
static inline u64 asul(f64 x) { return as_<u64>(x); }
static inline f32 h2f(u16 h) {
  u32 sign = (u32)(h & 0x8000) << 16, rest = h & 0x7fff;
  if (rest >= 0x7c00) return asf(rest > 0x7c00 ? 0x7fffffff : sign | 0x7f800000);  // NaN has one form
  return asf(sign | asu(asf(rest << 13) * 0x1p112f));
}
static inline u64 bfi64(u64 a, u64 b, u32 pos, u32 len) {
  pos &= 255; len &= 255;
  if (pos >= 64 || len == 0) return b;
  u64 m = (len >= 64 ? ~0ull : (1ull << len) - 1) << pos;
  return (b & ~m) | ((a << pos) & m);
}
static inline u32 bfi32(u32 a, u32 b, u32 pos, u32 len) {
  return (pos & 255) >= 32 ? b : (u32)bfi64(a, b, pos, len);
}
template <class T> static inline T bfe_(T a, u32 pos, u32 len) {
  const u32 bits = sizeof(T) * 8;
  pos &= 255; len &= 255;
  if (len == 0) return 0;
  if (pos >= bits) return a < 0 ? (T)-1 : (T)0;
  if (pos + len >= bits) return a >> pos;
  return (T)(a << (bits - pos - len)) >> (bits - len);
}
static inline u64 brev64(u64 x) { u64 r = 0; for (int i = 0; i < 64; i++) r |= ((x >> i) & 1) << (63 - i); return r; }
static inline u32 brev32(u32 x) { return (u32)(brev64(x) >> 32); }
template <class T> static inline T shl_(T a, u32 n) { return n >= sizeof(T) * 8 ? 0 : (T)(a << n); }
template <class T> static inline T shr_(T a, u32 n) {
  if (n >= sizeof(T) * 8) return a < 0 ? (T)-1 : (T)0;
  return (T)(a >> n);
}
static inline u32 shf_l(u32 a, u32 b, u32 n, int wrap) {
  n = wrap ? n & 31 : n > 32 ? 32 : n;
  return n == 0 ? b : n == 32 ? a : (b << n) | (a >> (32 - n));
}
static inline u32 shf_r(u32 a, u32 b, u32 n, int wrap) {
  n = wrap ? n & 31 : n > 32 ? 32 : n;
  return n == 0 ? a : n == 32 ? b : (b << (32 - n)) | (a >> n);
}
static inline u32 prmt_(u32 a, u32 b, u32 s) {
  u64 v = (u64)b << 32 | a;
  u32 r = 0;
  for (int i = 0; i < 4; i++) {
    u32 k = (s >> (4 * i)) & 15;
    u8 x = (u8)(v >> (8 * (k & 7)));
    r |= (u32)(k & 8 ? (x & 0x80 ? 0xff : 0) : x) << (8 * i);
  }
  return r;
}
static inline u32 lop3_(u32 a, u32 b, u32 c, u32 t) {
  u32 r = 0;
  for (int i = 0; i < 8; i++)
    if (t >> i & 1) r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  return r;
}
static inline s32 f2s32(f64 x, int nan) {
  if (x != x) return nan ? INT32_MIN : 0;
  return x >= 2147483648.0 ? INT32_MAX : x <= -2147483649.0 ? INT32_MIN : (s32)x;
}
static inline u32 f2u32(f64 x, int nan) {
  if (x != x) return nan ? 0x80000000u : 0;
  return x >= 4294967296.0 ? ~0u : x <= -1 ? 0 : (u32)(s64)x;
}
static inline s64 f2s64(f64 x) {
  if (x != x) return INT64_MIN;
  return x >= 9223372036854775808.0 ? INT64_MAX : x < -9223372036854775808.0 ? INT64_MIN : (s64)x;
}
static inline u64 f2u64(f64 x) {
  if (x != x) return 1ull << 63;
  return x >= 18446744073709551616.0 ? ~0ull : x <= -1 ? 0 : (u64)x;
}


// Threads.
struct Ctx;
struct Calls {
  u8* (*addr)(Ctx*, u64, int, int, int, int, int);
  u64 (*wsync)(Ctx*, int, int, u32, u64, u64, u64);
  u64 (*bsync)(Ctx*, int, int, u64);
  void (*fail)(Ctx*, const char*, int, u64, u64);
};
struct Ctx {
  u32 tid, ntid, ctaid, nctaid; u64 dynshared; u8* sh; const u64* par; u64* counts; const Calls* calls; void* block;
  void* fiber;
};
#ifndef RUNTIME
static inline u8* addr(Ctx* c, u64 a, int n, int space, int writes, int site, int atomic) {
  return c->calls->addr(c, a, n, space, writes, site, atomic);
}
static inline u64 wsync(Ctx* c, int site, int kind, u32 mask, u64 v, u64 sel, u64 clamp) {
  return c->calls->wsync(c, site, kind, mask, v, sel, clamp);
}
static inline u64 bsync(Ctx* c, int site, int kind, u64 v) { return c->calls->bsync(c, site, kind, v); }
static inline void fail(Ctx* c, const char* format, int site, u64 a, u64 b) { c->calls->fail(c, format, site, a, b); }
#endif
