// A Verilated top with a memory on its AXI4 port `axi`.
//
// The memory answers after `latency` cycles, moves at most `bandwidth` bytes a cycle in both directions together (0: as many as the
// bus takes), and stalls every handshake with a probability of `stall` per mille. It checks the AXI4 rules that a manager has to
// keep, and it can be told to misbehave (`fault`).
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "verilated.h"

#if AXI_BITS == 16
using Beat = uint16_t;
#elif AXI_BITS == 32
using Beat = uint32_t;
#elif AXI_BITS == 64
using Beat = uint64_t;
#else
#error "AXI_BITS must be 16, 32 or 64"
#endif

double sc_time_stamp() { return 0; }

constexpr uint32_t kBytes = AXI_BITS / 8;
constexpr uint32_t kPage = 4096;
constexpr size_t kQueue = 8;  // bursts taken ahead

enum Response : uint8_t { kOkay = 0, kSlaveError = 2, kDecodeError = 3 };
enum Fault : uint32_t { kNone = 0, kReadError = 1, kWriteError = 2, kSilent = 3 };

struct Burst {
  uint64_t address;
  uint32_t beats;
  uint64_t ready;  // cycle from which it may be answered
};

template <class Top>
struct Machine {
  VerilatedContext context;
  Top top{&context};
  std::vector<uint8_t> memory;
  uint64_t random;
  uint32_t stall, latency, bandwidth;
  uint32_t credit = 0;       // bytes that may be moved now
  bool read_first = false;   // of reads and writes that both wait, the ones whose turn it is
  uint64_t cycle = 0;
  std::deque<Burst> reads, writes;
  std::deque<std::pair<uint8_t, uint64_t>> responses;
  Response write_response = kOkay;
  uint32_t fault = kNone;
  uint64_t fault_low = 0, fault_high = 0;
  std::string violation;
  // what valid && !ready must hold
  uint32_t held_ar = 0, held_aw = 0, held_arlen = 0, held_awlen = 0, held_wlast = 0;
  Beat held_w = 0;
  bool ar_waits = false, aw_waits = false, w_waits = false;

  Machine(uint64_t bytes, uint64_t seed, uint32_t stall_, uint32_t latency_, uint32_t bandwidth_)
      : memory(bytes), random(seed * 2654435761u + 88172645463325252ull), stall(stall_), latency(latency_), bandwidth(bandwidth_) {
    top.rst = 1;
    for (int i = 0; i < 4; i++) {
      top.clk = 0;
      top.eval();
      top.clk = 1;
      top.eval();
    }
    top.rst = 0;
  }

  bool lucky() {
    if (stall == 0) return true;
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return random % 1000 >= stall;
  }

  void broken(const char* rule) {
    if (violation.empty()) {
      char text[200];
      snprintf(text, sizeof text, "cycle %llu: %s", static_cast<unsigned long long>(cycle), rule);
      violation = text;
    }
  }

  bool faulty(uint32_t kind, uint64_t address) const {
    return fault == kind && address >= fault_low && address < fault_high;
  }

  void check_burst(uint64_t address, uint32_t beats, const char* what) {
    if (address % kBytes) broken("AXI4: unaligned burst");
    if (address / kPage != (address + beats * kBytes - 1) / kPage) broken(what);
  }

  // One clock cycle. The inputs of the memory side are chosen first, then everything settles, handshakes are taken.
  void step() {
    const bool silent = fault == kSilent;
    credit = bandwidth ? std::min(credit + bandwidth, bandwidth + kBytes) : 2 * kBytes;
    top.axi_arready = !silent && reads.size() < kQueue && lucky();
    top.axi_awready = !silent && writes.size() < kQueue && lucky();
    const bool readable = !top.axi_rvalid && !silent && !reads.empty() && cycle >= reads.front().ready && credit >= kBytes;
    const bool writable = !silent && !writes.empty() && credit >= kBytes;
    const bool both = credit >= 2 * kBytes;
    const bool reading = readable && (both || read_first || !writable || !top.axi_wvalid) && lucky();
    top.axi_wready = writable && (both || !reading) && lucky();
    if (reading) {
      credit -= kBytes;
      read_first = false;
      const Burst& burst = reads.front();
      Beat data = 0;
      Response response = kOkay;
      if (burst.address + kBytes > memory.size()) response = kDecodeError;
      else std::memcpy(&data, &memory[burst.address], kBytes);
      if (faulty(kReadError, burst.address)) response = kSlaveError;
      top.axi_rvalid = 1;
      top.axi_rdata = data;
      top.axi_rresp = response;
      top.axi_rlast = burst.beats == 1;
    }
    if (!top.axi_bvalid && !silent && !responses.empty() && cycle >= responses.front().second && lucky()) {
      top.axi_bvalid = 1;
      top.axi_bresp = responses.front().first;
    }
    top.clk = 0;
    top.eval();

    const bool ar = top.axi_arvalid && top.axi_arready, r = top.axi_rvalid && top.axi_rready;
    const bool aw = top.axi_awvalid && top.axi_awready, w = top.axi_wvalid && top.axi_wready;
    const bool b = top.axi_bvalid && top.axi_bready;
    if (ar_waits && (!top.axi_arvalid || top.axi_araddr != held_ar || top.axi_arlen != held_arlen)) broken("AXI4: AR changed before it was taken");
    if (aw_waits && (!top.axi_awvalid || top.axi_awaddr != held_aw || top.axi_awlen != held_awlen)) broken("AXI4: AW changed before it was taken");
    if (w_waits && (!top.axi_wvalid || top.axi_wdata != held_w || top.axi_wlast != held_wlast))
      broken("AXI4: W changed before it was taken");
    ar_waits = top.axi_arvalid && !ar;
    aw_waits = top.axi_awvalid && !aw;
    w_waits = top.axi_wvalid && !w;
    held_ar = top.axi_araddr;
    held_aw = top.axi_awaddr;
    held_arlen = top.axi_arlen;
    held_awlen = top.axi_awlen;
    held_w = top.axi_wdata;
    held_wlast = top.axi_wlast;
    if (ar) {
      check_burst(top.axi_araddr, top.axi_arlen + 1u, "AXI4: read burst crosses 4 KiB");
      reads.push_back({top.axi_araddr, top.axi_arlen + 1u, cycle + latency});
    }
    if (aw) {
      check_burst(top.axi_awaddr, top.axi_awlen + 1u, "AXI4: write burst crosses 4 KiB");
      writes.push_back({top.axi_awaddr, top.axi_awlen + 1u, 0});
    }
    if (w) {
      credit -= kBytes;
      read_first = true;
      Burst& burst = writes.front();
      if (top.axi_wlast != (burst.beats == 1)) broken("AXI4: wlast is wrong");
      if (burst.address + kBytes > memory.size()) write_response = kDecodeError;
      else if (faulty(kWriteError, burst.address)) write_response = kSlaveError;
      else std::memcpy(&memory[burst.address], &top.axi_wdata, kBytes);
      burst.address += kBytes;
      if (--burst.beats == 0) {
        responses.push_back({write_response, cycle + latency});
        write_response = kOkay;
        writes.pop_front();
      }
    }
    top.clk = 1;
    top.eval();
    if (r) {
      Burst& burst = reads.front();
      burst.address += kBytes;
      if (--burst.beats == 0) reads.pop_front();
      top.axi_rvalid = 0;
    }
    if (b) {
      responses.pop_front();
      top.axi_bvalid = 0;
    }
    cycle++;
  }
};

// 0, or -1 where the range is outside the memory.
template <class Top>
int write_memory(Machine<Top>& d, uint64_t address, const uint8_t* data, uint64_t bytes) {
  if (address > d.memory.size() || bytes > d.memory.size() - address) return -1;
  std::memcpy(d.memory.data() + address, data, bytes);
  return 0;
}

template <class Top>
int read_memory(Machine<Top>& d, uint64_t address, uint8_t* data, uint64_t bytes) {
  if (address > d.memory.size() || bytes > d.memory.size() - address) return -1;
  std::memcpy(data, d.memory.data() + address, bytes);
  return 0;
}
