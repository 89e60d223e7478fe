// The Verilated board with a memory on its AXI4 port and bytes on its serial line, behind a C interface.
#include <algorithm>

#include "Vboard.h"
#include "../device/machine.h"

namespace {

constexpr int kBits = 10;  // of a byte on the line: start, eight of data, stop

struct Board {
  Machine<Vboard> machine;
  uint32_t divisor;  // cycles of a bit
  std::deque<uint8_t> to_board, to_host;
  uint32_t sending = 0, sent = 0;     // bits of the byte on its way to the board, lowest first; cycles since its start
  uint32_t arriving = 0, arrived = 0; // bits of the byte on its way to the host; cycles since its start, 0 where there is none
  bool ended = false;                 // a byte 0 has come, the end of a frame

  Board(uint64_t bytes, uint64_t seed, uint32_t stall, uint32_t latency, uint32_t divisor_)
      : machine(bytes, seed, stall, latency, 0), divisor(divisor_) {
    machine.top.rx = 1;
  }

  void step() {
    if (sent == 0 && !to_board.empty()) {
      sending = 1u << (kBits - 1) | to_board.front() << 1;
      to_board.pop_front();
      sent = kBits * divisor;
    }
    machine.top.rx = sent ? sending >> (kBits - 1 - (sent - 1) / divisor) & 1 : 1;
    if (sent) sent--;
    machine.step();
    if (!arrived) {
      if (machine.top.tx) return;
      arriving = 0;
    }
    if (arrived % divisor == divisor / 2) arriving |= uint32_t{machine.top.tx} << (arrived / divisor);
    if (++arrived <= (kBits - 1) * divisor + divisor / 2) return;
    arrived = 0;
    const uint8_t byte = arriving >> 1 & 255;
    to_host.push_back(byte);
    ended = byte == 0;
  }

  bool idle() const { return to_board.empty() && !sent && !arrived && !machine.top.active; }
};

}  // namespace

#pragma GCC visibility push(default)  // all else is hidden, see build.py
extern "C" {

// A board with `bytes` of memory. `stall`: per mille of cycles in which a handshake of the memory waits.
void* board_create(uint64_t bytes, uint64_t seed, uint32_t stall, uint32_t latency, uint32_t divisor) {
  return new Board(bytes, seed, stall, latency, divisor);
}

void board_destroy(void* handle) { delete static_cast<Board*>(handle); }

void board_send(void* handle, const uint8_t* data, uint64_t bytes) {
  auto& b = *static_cast<Board*>(handle);
  b.to_board.insert(b.to_board.end(), data, data + bytes);
}

// Takes up to `bytes` of what the board has sent; how many.
uint64_t board_receive(void* handle, uint8_t* data, uint64_t bytes) {
  auto& b = *static_cast<Board*>(handle);
  const uint64_t count = std::min<uint64_t>(bytes, b.to_host.size());
  std::copy_n(b.to_host.begin(), count, data);
  b.to_host.erase(b.to_host.begin(), b.to_host.begin() + count);
  return count;
}

// Runs for `limit` cycles, or until a frame of the board has ended; returns 1 where nothing is on the line or being carried out.
int board_run(void* handle, uint64_t limit) {
  auto& b = *static_cast<Board*>(handle);
  b.ended = false;
  for (uint64_t i = 0; i < limit && !b.ended; i++) b.step();
  return b.idle();
}

// 0, or -1 where the range is outside the memory.
int board_read_memory(void* handle, uint64_t address, uint8_t* data, uint64_t bytes) {
  return read_memory(static_cast<Board*>(handle)->machine, address, data, bytes);
}

uint64_t board_cycles(void* handle) { return static_cast<Board*>(handle)->machine.cycle; }

// The first AXI4 rule that was broken, or an empty text.
const char* board_violation(void* handle) { return static_cast<Board*>(handle)->machine.violation.c_str(); }
}
#pragma GCC visibility pop
