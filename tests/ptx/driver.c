// A stand-in for libcuda: memory is the host's, launches are counted and not run. What the host's part of a call
// costs, and what it asks of a driver, shows without a device (host_path.py).
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef int R;
typedef void* H;
typedef uint64_t P;
enum { LAUNCHES, TO_DEVICE, TO_HOST, WAITS, ALLOCATIONS, KINDS };
static long counts[KINDS];
static H contexts[64], last_stream;
static int depth, context = 1;
static R counted(int kind) { counts[kind]++; return 0; }
void stand_in_counts(long* out) { memcpy(out, counts, sizeof counts); memset(counts, 0, sizeof counts); }
uint64_t stand_in_stream(void) { return (uint64_t)last_stream; }

R cuInit(unsigned f) { return 0; }
R cuDriverGetVersion(int* v) { *v = 13000; return 0; }
R cuDeviceGetCount(int* n) { *n = 1; return 0; }
R cuDeviceGet(int* d, int i) { *d = i; return 0; }
R cuDeviceGetName(char* n, int size, int d) { snprintf(n, size, "stand-in"); return 0; }
R cuDeviceGetUuid(char* u, int d) { memset(u, 7, 16); return 0; }
R cuDeviceComputeCapability(int* a, int* b, int d) { *a = 9; *b = 0; return 0; }
R cuDeviceGetAttribute(int* v, int a, int d) {
  *v = a == 75 ? 9 : a == 76 ? 0 : a == 16 ? 132 : a == 1 ? 1024 : a == 10 ? 32 : a == 8 ? 49152 : 1;
  return 0;
}
R cuDevicePrimaryCtxGetState(int d, unsigned* f, int* a) { *f = 0; *a = 1; return 0; }
R cuDevicePrimaryCtxRetain(H* c, int d) { *c = &context; return 0; }
R cuDevicePrimaryCtxRelease(int d) { return 0; }
R cuDevicePrimaryCtxReset(int d) { return 0; }
R cuCtxGetDevice(int* d) { *d = 0; return depth ? 0 : 201; }
R cuCtxGetCurrent(H* c) { *c = depth ? contexts[depth - 1] : 0; return 0; }
R cuCtxPushCurrent(H c) { contexts[depth++] = c; return 0; }
R cuCtxPopCurrent(H* c) { *c = contexts[--depth]; return 0; }
R cuCtxSynchronize(void) { return counted(WAITS); }
R cuCtxDestroy(H c) { return 0; }
R cuStreamSynchronize(H s) { return counted(WAITS); }
R cuStreamCreate(H* s, unsigned f) { *s = malloc(8); return 0; }
R cuStreamDestroy(H s) { return 0; }
R cuModuleLoadDataEx(H* m, const void* image, unsigned n, void* o, void* v) { *m = malloc(8); return 0; }
R cuModuleUnload(H m) { return 0; }
R cuModuleGetFunction(H* f, H m, const char* name) { *f = malloc(8); return 0; }
R cuFuncGetAttribute(int* v, int a, H f) { *v = a == 0 ? 1024 : 32; return 0; }
R cuFuncSetCacheConfig(H f, int c) { return 0; }
R cuMemAlloc(P* p, size_t n) { *p = (P)aligned_alloc(256, (n + 511) / 256 * 256); return counted(ALLOCATIONS); }
R cuMemFree(P p) { free((void*)p); return 0; }
R cuMemsetD8(P p, unsigned char c, size_t n) { memset((void*)p, c, n); return 0; }
R cuMemcpyHtoD(P d, void* s, size_t n) { memmove((void*)d, s, n); return counted(TO_DEVICE); }
R cuMemcpyHtoDAsync(P d, void* s, size_t n, H st) { return cuMemcpyHtoD(d, s, n); }
R cuMemcpyDtoH(void* d, P s, size_t n) { memmove(d, (void*)s, n); return counted(TO_HOST); }
R cuMemcpyDtoHAsync(void* d, P s, size_t n, H st) { return cuMemcpyDtoH(d, s, n); }
R cuMemGetInfo(size_t* f, size_t* t) { *f = *t = 1ull << 34; return 0; }
R cuPointerGetAttribute(void* out, int a, P p) {
  if (a == 1 || a == 3 || a == 4) *(uint64_t*)out = a == 1 ? (uint64_t)&context : p;
  else *(uint32_t*)out = a == 2 ? 2 : 0;
  return 0;
}
R cuLaunchKernel(H f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned sh, H st,
                 void** p, void** e) {
  last_stream = st;
  return gx == 0 || bx > 1024 || sh > 49152 ? 1 : counted(LAUNCHES);
}
R cuLinkCreate(unsigned n, void* o, void* v, H* l) { *l = calloc(1, sizeof(char*)); return 0; }
R cuLinkAddData(H l, int t, void* d, size_t n, const char* name, unsigned k, void* o, void* v) {
  if (!*(char**)l) *(char**)l = strndup(d, n);
  return 0;
}
R cuLinkComplete(H l, void** c, size_t* n) { *c = *(char**)l; *n = strlen(*c) + 1; return 0; }
R cuLinkDestroy(H l) { return 0; }
R cuGetErrorName(R e, const char** s) { *s = "stand-in"; return 0; }
R cuGetErrorString(R e, const char** s) { *s = "stand-in"; return 0; }
R cuIpcOpenMemHandle(P* p, int64_t* handle, unsigned f) { return 801; }  // asked for, never called
