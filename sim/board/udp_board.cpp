// The Verilated board with a memory on its AXI4 port and datagrams at the streams of its UDP core; its serial line is idle. To and from
// the board a datagram is its length (2 bytes), the other's address (4) and port (2), each lowest byte first, and its bytes.
#include "Vboard.h"
#include "../device/machine.h"

namespace {

constexpr size_t kHead = 8;

// Fields of the payloads, from their lowest bit: data 32, last 1, length 16, address 32, port 16; of what the board gets, error 1.
uint64_t field(const WData* words, int at, int bits) {
  uint64_t value = 0;
  for (int i = 0; i < bits; i++) value |= uint64_t{words[(at + i) / 32] >> (at + i) % 32 & 1} << i;
  return value;
}

void set_field(WData* words, int at, int bits, uint64_t value) {
  for (int i = 0; i < bits; i++) {
    WData& word = words[(at + i) / 32];
    word = (word & ~(1u << (at + i) % 32)) | static_cast<WData>(value >> i & 1) << (at + i) % 32;
  }
}

struct Board {
  Machine<Vboard> machine;
  std::deque<uint8_t> to_board, to_host;
  std::vector<uint8_t> datagram;  // of the board, not yet whole
  uint64_t length = 0, address = 0, port = 0;  // of the datagram on its way to the board
  uint64_t left = 0;                           // bytes of it
  bool offered = false;                        // a word to the board waits to be taken
  bool ended = false;                          // a datagram of the board has ended

  Board(uint64_t bytes, uint64_t seed, uint32_t stall, uint32_t latency) : machine(bytes, seed, stall, latency, 0) {
    machine.top.rx = 1;
  }

  uint64_t number(int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) {
      value |= uint64_t{to_board.front()} << 8 * i;
      to_board.pop_front();
    }
    return value;
  }

  void step() {
    auto& top = machine.top;
    if (!left && to_board.size() >= kHead) {
      left = length = number(2);
      address = number(4);
      port = number(2);
    }
    if (left && !offered && machine.lucky()) {
      WData* word = top.received_payload.data();
      const int bytes = left < 4 ? left : 4;
      set_field(word, 0, 32, number(bytes));
      set_field(word, 32, 1, left <= 4);
      set_field(word, 33, 16, length);
      set_field(word, 49, 32, address);
      set_field(word, 81, 16, port);
      left -= bytes;
      offered = true;
    }
    top.received_valid = offered;
    top.sent_ready = machine.lucky();
    top.eval();
    if (offered && top.received_ready) offered = false;
    if (top.sent_valid && top.sent_ready) {
      const WData* word = top.sent_payload.data();
      const uint64_t size = field(word, 33, 16);
      if (datagram.empty()) {
        const uint64_t head = size | field(word, 49, 48) << 16;
        for (size_t i = 0; i < kHead; i++) datagram.push_back(head >> 8 * i);
      }
      for (int i = 0; i < 4 && datagram.size() < kHead + size; i++) datagram.push_back(field(word, 8 * i, 8));
      ended = field(word, 32, 1);
      if (ended) {
        to_host.insert(to_host.end(), datagram.begin(), datagram.end());
        datagram.clear();
      }
    }
    machine.step();
  }

  bool idle() const { return to_board.empty() && !left && !offered && !machine.top.sent_valid && !machine.top.active; }
};

}  // namespace

#include "interface.h"
