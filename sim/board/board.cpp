// The Verilated board with a memory on its AXI4 port and bytes on its serial line.
#include "Vboard.h"
#include "../device/machine.h"

namespace {

constexpr int kBits = 10;  // of a byte on the line: start, eight of data, stop
constexpr uint32_t kDivisor = AXI_BITS == 16 ? 12 : 4;  // cycles of a bit, as board.py says; only lean machines have 16

struct Board {
  Machine<Vboard> machine;
  std::deque<uint8_t> to_board, to_host;
  uint32_t sending = 0, sent = 0;     // bits of the byte on its way to the board, lowest first; cycles since its start
  uint32_t arriving = 0, arrived = 0; // bits of the byte on its way to the host; cycles since its start, 0 where there is none
  bool ended = false;                 // a byte 0 has come, the end of a frame

  Board(uint64_t bytes, uint64_t seed, uint32_t stall, uint32_t latency) : machine(bytes, seed, stall, latency, 0) {
    machine.top.rx = 1;
  }

  void step() {
    if (sent == 0 && !to_board.empty()) {
      sending = 1u << (kBits - 1) | to_board.front() << 1;
      to_board.pop_front();
      sent = kBits * kDivisor;
    }
    machine.top.rx = sent ? sending >> (kBits - 1 - (sent - 1) / kDivisor) & 1 : 1;
    if (sent) sent--;
    machine.step();
    if (!arrived) {
      if (machine.top.tx) return;
      arriving = 0;
    }
    if (arrived % kDivisor == kDivisor / 2) arriving |= uint32_t{machine.top.tx} << (arrived / kDivisor);
    if (++arrived <= (kBits - 1) * kDivisor + kDivisor / 2) return;
    arrived = 0;
    const uint8_t byte = arriving >> 1 & 255;
    to_host.push_back(byte);
    ended = byte == 0;
  }

  bool idle() const { return to_board.empty() && !sent && !arrived && !machine.top.active; }
};

}  // namespace

#include "interface.h"
