// The Verilated board with a memory on its AXI4 port and datagrams at the streams of its UDP core.
#include "Vboard.h"
#include "../device/machine.h"

namespace {

constexpr uint32_t kLast = 256;  // the bit of a byte that ends a datagram

struct Board {
  Machine<Vboard> machine;
  std::deque<uint8_t> to_board, to_host;
  std::vector<uint8_t> datagram;  // of the board, not yet whole
  bool offered = false;           // a byte to the board waits to be taken
  bool ended = false;             // a datagram of the board has ended

  Board(uint64_t bytes, uint64_t seed, uint32_t stall, uint32_t latency) : machine(bytes, seed, stall, latency, 0) {}

  void step() {
    auto& top = machine.top;
    offered = offered || (!to_board.empty() && machine.lucky());
    top.received_valid = offered;
    top.received_payload = offered ? to_board.front() | (to_board.size() == 1 ? kLast : 0) : 0;
    top.sent_ready = machine.lucky();
    top.eval();
    if (offered && top.received_ready) {
      to_board.pop_front();
      offered = false;
    }
    if (top.sent_valid && top.sent_ready) {
      datagram.push_back(top.sent_payload & 255);
      ended = top.sent_payload & kLast;
      if (ended) {
        to_host.insert(to_host.end(), datagram.begin(), datagram.end());
        datagram.clear();
      }
    }
    machine.step();
  }

  bool idle() const { return to_board.empty() && !machine.top.sent_valid && !machine.top.active; }
};

}  // namespace

#include "interface.h"
