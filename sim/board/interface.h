// The C interface to a simulated board: what its source includes at its end, behind a `Board` with
//   machine           the Verilated top and its memory
//   to_board, to_host bytes on their way
//   step()            one cycle; sets `ended` where the last byte of an answer has come
//   idle()            nothing is on the line or being carried out
#pragma once
#include <algorithm>

#pragma GCC visibility push(default)  // all else is hidden, see build.py
extern "C" {

// A board with `bytes` of memory. `stall`: per mille of cycles in which a handshake of the memory waits.
void* board_create(uint64_t bytes, uint64_t seed, uint32_t stall, uint32_t latency) {
  return new Board(bytes, seed, stall, latency);
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
