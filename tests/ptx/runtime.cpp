// What PTX translated to C++ runs on: a fiber for each CUDA thread of a block, blocks one after another, and checks.
//
// Seen: accesses outside of the arrays given, or not aligned; collectives that lanes reach at different places, or
// that name lanes which are not there; deadlocks; division by zero; with `race`, two threads at one byte of shared or
// global memory without a barrier between them, one of them writing. Atomics are left out of the races, as are
// fences; memory is coherent, so that weak ordering is not seen. Shared memory begins with random bytes.
#include <cstdio>
#include <cstdlib>
#include <unordered_map>
#include <vector>
#define RUNTIME
#include "kernel.h"

// Threads.
enum { RUN = 0, WARP_WAIT = 1, BLOCK_WAIT = 2, DONE = 3, YIELD = 4 };
enum { SHUFFLE_IDX, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_XOR, BALLOT, WARP_SYNC, ANY, ALL };
struct Fiber { void* sp; int state, site, kind; u32 mask; u64 val, sel, res; };
struct Range { u64 lo, hi; };
struct Access { u32 writer, reader, w_block, w_warp, r_block, r_warp; };  // who was last, and in which epochs
struct Params {
  u64* par; const Range* ranges; int nranges, gx, bx; u64 dynshared, seed; int preempt, race, blockorder;
  char* err; u64 errlen; u64* counts; void (*body)(Ctx*); u64 static_shared;
};
struct Block;
struct Trace {  // of a byte of shared memory: the last writer, the last reader, all warps and lanes that read
  u32 writer, w_block, w_warp, reader, r_block, r_warp, warps, lanes;
};
struct Block {
  Params* P; std::vector<Fiber> f; std::vector<Ctx> c; std::vector<u8> shared; std::vector<Trace> traces;
  u32 epoch; std::vector<u32> warp_epochs; Fiber main; u64 rng; std::unordered_map<u64, Access>* global; int last;
};
static Block* CURRENT;
static inline Block* block_of(Ctx* c) { return (Block*)c->block; }
static inline Fiber* fiber_of(Ctx* c) { return (Fiber*)c->fiber; }
static inline u64 rnd(u64& s) { s ^= s << 13; s ^= s >> 7; s ^= s << 17; return s; }
extern "C" void ptx_switch(void** from, void* to);
asm(".text\n.globl ptx_switch\n.hidden ptx_switch\nptx_switch:\n push %rbp\n push %rbx\n push %r12\n push %r13\n"
    " push %r14\n push %r15\n mov %rsp,(%rdi)\n mov %rsi,%rsp\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n"
    " pop %rbx\n pop %rbp\n ret\n");
static void fail(Ctx* c, const char* format, int site, u64 a, u64 b) {
  Params* P = block_of(c)->P;
  if (P->err[0]) return;  // the first failure is told
  int k = snprintf(P->err, P->errlen, "block %u thread %u line %d: ", c->ctaid, c->tid, site);
  snprintf(P->err + k, P->errlen - k, format, (unsigned long long)a, (unsigned long long)b);
}
static void back(Ctx* c) { ptx_switch(&fiber_of(c)->sp, block_of(c)->main.sp); }

// Memory.
static void trace_shared(Ctx* c, u64 off, int n, int writes, int site) {
  Block* b = block_of(c);
  u32 me = c->tid + 1, w = c->tid / 32, lane = 1u << (c->tid & 31), own = b->warp_epochs[w];
  for (u64 o = off; o < off + n; o++) {
    Trace& t = b->traces[o];
    bool ordered = (t.writer - 1) / 32 == w && t.w_warp != own;  // by a barrier of the warp
    if (t.writer && t.writer != me && t.w_block == b->epoch && !ordered)
      fail(c, "shared race: byte %llu also written by thread %llu", site, o, t.writer - 1);
    bool is_read = t.reader && t.r_block == b->epoch;
    bool by_my_warp = is_read && (t.reader - 1) / 32 == w && t.r_warp == own;
    if (writes) {
      u32 others = is_read ? t.warps & ~(1u << w) : 0;
      if (others) fail(c, "shared race: byte %llu also read by warp %llu", site, o, __builtin_ctz(others));
      if (by_my_warp && (t.lanes & ~lane))
        fail(c, "shared race: byte %llu also read by lane %llu of the warp", site, o, __builtin_ctz(t.lanes & ~lane));
      t.writer = me; t.w_block = b->epoch; t.w_warp = own;
    } else {
      if (!is_read) t.warps = 0;
      if (!by_my_warp) t.lanes = 0;
      t.warps |= 1u << w; t.lanes |= lane; t.reader = me; t.r_block = b->epoch; t.r_warp = own;
    }
  }
}
static void trace_global(Ctx* c, u64 a, int n, int writes, int site) {
  Block* b = block_of(c);
  u32 me = c->ctaid * 1024 + c->tid + 1, w = c->tid / 32, own = b->warp_epochs[w];
  auto is_ordered = [&](u32 who, u32 block, u32 warp) {
    bool same_warp = (who - 1) % 1024 / 32 == w;
    return who == me || ((who - 1) / 1024 == c->ctaid && (block != b->epoch || (same_warp && warp != own)));
  };
  for (u64 i = a; i < a + n; i++) {
    Access& x = (*b->global)[i];
    if (x.writer && !is_ordered(x.writer, x.w_block, x.w_warp))
      fail(c, "global race: address %llu also written by thread %llu", site, i, x.writer - 1);
    if (writes && x.reader && !is_ordered(x.reader, x.r_block, x.r_warp))
      fail(c, "global race: address %llu also read by thread %llu", site, i, x.reader - 1);
    if (writes) { x.writer = me; x.w_block = b->epoch; x.w_warp = own; }
    else { x.reader = me; x.r_block = b->epoch; x.r_warp = own; }
  }
}
static u8 SINK[64];  // what a bad access reads and writes
static u8* addr(Ctx* c, u64 a, int n, int space, int writes, int site, int atomic) {
  Block* b = block_of(c);
  Params* P = b->P;
  if (P->preempt && rnd(b->rng) % (u64)P->preempt == 0) { fiber_of(c)->state = YIELD; back(c); }
  if (a % n) { fail(c, "misaligned access of %llu bytes at %llx", site, n, a); return SINK; }
  u64 s0 = (u64)b->shared.data(), s1 = s0 + b->shared.size();
  if (space != 1 && a >= s0 && a + n <= s1) {
    if (P->race && !atomic) trace_shared(c, a - s0, n, writes, site);
    return (u8*)a;
  }
  if (space == 0) { fail(c, "shared access out of bounds: offset %lld of %llu", site, a - s0, s1 - s0); return SINK; }
  const Range* r = P->ranges;
  if (!P->nranges || !(a >= r[b->last].lo && a + n <= r[b->last].hi)) {
    int i = 0;
    while (i < P->nranges && !(a >= r[i].lo && a + n <= r[i].hi)) i++;
    if (i == P->nranges) { fail(c, "global access out of bounds at %llx (%llu bytes)", site, a, n); return SINK; }
    b->last = i;
  }
  if (P->race && !atomic) trace_global(c, a, n, writes, site);
  return (u8*)a;
}

// Collectives: a thread says what it wants, and goes on when all that are named have come.
static u64 wsync(Ctx* c, int site, int kind, u32 mask, u64 v, u64 sel, u64 clamp) {
  Fiber* f = fiber_of(c);
  f->state = WARP_WAIT; f->site = site; f->mask = mask; f->val = v; f->sel = sel | clamp << 32; f->kind = kind;
  back(c);
  return f->res;
}
static u64 bsync(Ctx* c, int site, int kind, u64 v) {
  Fiber* f = fiber_of(c);
  f->state = BLOCK_WAIT; f->site = site; f->kind = kind; f->val = v;
  back(c);
  return f->res;
}
static void entry() {
  Ctx* c = &CURRENT->c[CURRENT->main.val];
  block_of(c)->P->body(c);
  fiber_of(c)->state = DONE;
  back(c);
  abort();
}
static void answer(Block& b, int w, int j, u32 mask, u32 ballot) {
  Fiber& g = b.f[w * 32 + j];
  if (g.kind == BALLOT) g.res = ballot;
  if (g.kind == ANY) g.res = ballot != 0;
  if (g.kind == ALL) g.res = (ballot & mask) == mask;
  if (g.kind > SHUFFLE_XOR) return;
  u32 lane = (u32)g.sel & 31, clamp = (u32)(g.sel >> 32), segment = (clamp >> 8) & 31;
  int highest = (j & segment) | (clamp & 31 & ~segment), source = j;
  bool inside = true;
  if (g.kind == SHUFFLE_IDX) { source = (j & segment) | (lane & ~segment); inside = source <= highest; }
  if (g.kind == SHUFFLE_UP) { source = j - (int)lane; inside = source >= highest; }
  if (g.kind == SHUFFLE_DOWN) { source = j + (int)lane; inside = source <= highest; }
  if (g.kind == SHUFFLE_XOR) { source = j ^ (int)lane; inside = source <= highest; }
  if (!inside) source = j;
  if (!(mask >> source & 1)) fail(&b.c[w * 32 + j], "shuffle from lane %llu outside the mask", g.site, source, 0);
  g.res = (u64)(u32)b.f[w * 32 + source].val | (u64)inside << 32;
}
static void release_warp(Block& b, int w) {
  int lanes = (int)b.f.size() - w * 32 < 32 ? (int)b.f.size() - w * 32 : 32;
  for (int i = 0; i < lanes; i++) {
    Fiber& f = b.f[w * 32 + i];
    Ctx* c = &b.c[w * 32 + i];
    if (f.state != WARP_WAIT) continue;
    u32 mask = f.mask, ballot = 0;
    bool all_here = true;
    if (!(mask >> i & 1)) fail(c, "lane not in its mask", f.site, 0, 0);
    for (int j = 0; j < 32 && all_here; j++) {
      if (!(mask >> j & 1)) continue;
      if (j >= lanes) { fail(c, "mask names lane %llu that is not there", f.site, j, 0); return; }
      if (b.f[w * 32 + j].state == DONE) { fail(c, "mask names lane %llu that has exited", f.site, j, 0); return; }
      all_here = b.f[w * 32 + j].state == WARP_WAIT;
    }
    if (!all_here) continue;
    for (int j = 0; j < lanes; j++) {
      if (!(mask >> j & 1)) continue;
      Fiber& g = b.f[w * 32 + j];
      if (g.site != f.site || g.mask != mask)
        fail(&b.c[w * 32 + j], "warp collective divergent: line %llu against %llu", g.site, g.site, f.site);
      if (g.val & 1) ballot |= 1u << j;
    }
    for (int j = 0; j < lanes; j++) if (mask >> j & 1) answer(b, w, j, mask, ballot);
    if (f.kind == WARP_SYNC) b.warp_epochs[w]++;  // only a barrier orders memory
    for (int j = 0; j < lanes; j++) if (mask >> j & 1) b.f[w * 32 + j].state = RUN;
  }
}
static void release_block(Block& b) {
  int live = 0, here = 0, site = -1;
  u64 any = 0, all = 1, number = 0;
  for (size_t i = 0; i < b.f.size(); i++) {
    Fiber& f = b.f[i];
    live += f.state != DONE;
    if (f.state != BLOCK_WAIT) continue;
    here++; any |= f.val; all &= f.val; number += f.val & 1;
    if (site >= 0 && site != f.site) fail(&b.c[i], "block barrier divergent: against line %llu", f.site, site, 0);
    site = f.site;
  }
  if (!live || here != live) return;
  b.epoch++;
  for (auto& f : b.f) if (f.state == BLOCK_WAIT) {
    f.res = f.kind == 1 ? any : f.kind == 2 ? all : f.kind == 3 ? number : 0;
    f.state = RUN;
  }
}

// A launch. With a seed, threads run in random order and warps pause; with `preempt` = k, one of k accesses yields.
#define STACK 65536
static bool run_some(Block& b, std::vector<int>& order, u32 paused) {
  bool any = false;
  for (int i : order) {
    Fiber& f = b.f[i];
    if (paused >> (i / 32) & 1) continue;
    if (f.state == YIELD) f.state = RUN;
    if (f.state != RUN) continue;
    any = true;
    CURRENT = &b; b.main.val = i;
    ptx_switch(&b.main.sp, f.sp);
    if (b.P->err[0]) return true;
    if (f.state == WARP_WAIT) release_warp(b, i / 32);
  }
  return any;
}
static const Calls CALLS = {addr, wsync, bsync, fail};
static void run_block(Block& b, u32 number, std::vector<u8>& stacks) {
  Params* P = b.P;
  b.epoch = 1;
  for (auto& w : b.warp_epochs) w = 1;
  for (auto& x : b.shared) x = (u8)rnd(b.rng);
  if (P->race) { b.traces.assign(b.shared.size(), Trace{}); }
  std::vector<int> order(P->bx);
  for (int i = 0; i < P->bx; i++) {
    u64* sp = (u64*)((u64)(stacks.data() + (size_t)(i + 1) * STACK) & ~63ull);
    *--sp = 0; *--sp = (u64)entry;
    sp -= 6; memset(sp, 0, 48);
    b.f[i] = Fiber{}; b.f[i].sp = sp; order[i] = i;
    b.c[i] = Ctx{(u32)i, (u32)P->bx, number, (u32)P->gx, P->dynshared, b.shared.data(), P->par, P->counts, &CALLS, &b, &b.f[i]};
  }
  while (!P->err[0]) {
    if (P->seed) for (int i = P->bx - 1; i > 0; i--) std::swap(order[i], order[rnd(b.rng) % (i + 1)]);
    u32 paused = P->seed ? (u32)rnd(b.rng) & (u32)rnd(b.rng) : 0;
    if (run_some(b, order, paused) || (paused && run_some(b, order, 0))) continue;
    release_block(b);
    int done = 0, waiting = -1;
    bool running = false;
    for (int i = 0; i < P->bx; i++) {
      done += b.f[i].state == DONE;
      running |= b.f[i].state == RUN;
      if (b.f[i].state != DONE) waiting = i;
    }
    if (done == P->bx) return;
    if (!running && waiting >= 0) fail(&b.c[waiting], "deadlock", b.f[waiting].site, 0, 0);
  }
}
extern "C" int ptx_launch(Params* P) {
  static std::vector<u8> stacks;
  if (stacks.size() < (size_t)P->bx * STACK) stacks.resize((size_t)P->bx * STACK);
  std::unordered_map<u64, Access> global;
  u64 rng = P->seed * 0x9E3779B97F4A7C15ull + 1, shared = P->static_shared + P->dynshared;
  std::vector<u32> blocks(P->gx);
  for (int i = 0; i < P->gx; i++) blocks[i] = i;
  if (P->blockorder) for (int i = P->gx - 1; i > 0; i--) std::swap(blocks[i], blocks[rnd(rng) % (i + 1)]);
  Block b;
  b.P = P; b.f.resize(P->bx); b.c.resize(P->bx); b.warp_epochs.resize((P->bx + 31) / 32);
  b.global = &global; b.last = 0; b.rng = rng; b.shared.resize(shared ? shared : 1);
  for (u32 number : blocks) if (!P->err[0]) run_block(b, number, stacks);
  return P->err[0] != 0;
}
