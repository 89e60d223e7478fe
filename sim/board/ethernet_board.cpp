// The Verilated board with a memory on its AXI4 port and Ethernet frames at the pins of LiteEth's core. To and from the board a frame
// is two bytes that say how long it is, lowest first, and all that is on the line from preamble to check sequence.
#include "Vboard.h"
#include "../device/machine.h"

namespace {

constexpr int kLineCycles = 25, kBoardCycles = 12;  // 125 MHz and 60 MHz
constexpr int kGap = 12;                            // cycles of the line between two frames

struct Board {
  Machine<Vboard> machine;
  std::deque<uint8_t> to_board, to_host;
  std::vector<uint8_t> frame;  // from the board, not yet whole
  uint32_t left = 0;           // bytes of the frame on its way to the board
  int gap = 0;
  int time = 0;       // of a cycle of the line
  bool ended = false; // a frame has come from the board

  Board(uint64_t bytes, uint64_t seed, uint32_t stall, uint32_t latency) : machine(bytes, seed, stall, latency, 0) {
    machine.top.rx = 1;
  }

  uint8_t next() {
    const uint8_t byte = to_board.front();
    to_board.pop_front();
    return byte;
  }

  // One cycle of the line: a byte to the board, its lower half at the rising edge; and one from it.
  void line() {
    auto& top = machine.top;
    if (gap) gap--;
    if (!left && !gap && to_board.size() >= 2) {
      left = next();
      left |= next() << 8;
    }
    const uint8_t byte = left ? next() : 0;
    top.rgmii_rx_ctl = left != 0;
    top.rgmii_rx_data = byte & 15;
    top.eval();
    top.rgmii_rx_clk = 1;
    top.eval();
    const bool sends = top.rgmii_tx_ctl;
    uint8_t sent = top.rgmii_tx_data;
    top.rgmii_rx_data = byte >> 4;
    top.eval();
    top.rgmii_rx_clk = 0;
    top.eval();
    sent |= top.rgmii_tx_data << 4;
    if (left && --left == 0) gap = kGap;
    if (sends) {
      frame.push_back(sent);
    } else if (!frame.empty()) {
      to_host.push_back(frame.size() & 255);
      to_host.push_back(frame.size() >> 8);
      to_host.insert(to_host.end(), frame.begin(), frame.end());
      frame.clear();
      ended = true;
    }
  }

  void step() {
    for (time += kLineCycles; time >= kBoardCycles; time -= kBoardCycles) line();
    machine.step();
  }

  bool idle() const { return to_board.empty() && !left && frame.empty() && !machine.top.active; }
};

}  // namespace

#include "interface.h"
