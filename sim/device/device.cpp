// The Verilated accelerator with a memory on its AXI4 port, behind a C interface.
#include "Vaccelerator.h"
#include "machine.h"

namespace {

constexpr int kRegisterTimeout = 1000;  // cycles

using Device = Machine<Vaccelerator>;

}  // namespace

#pragma GCC visibility push(default)  // all else is hidden, see build.py
extern "C" {

// A device with `bytes` of memory. `stall`: per mille of cycles in which a handshake of the memory waits; `latency`, `bandwidth`: see
// machine.h.
void* device_create(uint64_t bytes, uint64_t seed, uint32_t stall, uint32_t latency, uint32_t bandwidth) {
  return new Device(bytes, seed, stall, latency, bandwidth);
}

void device_destroy(void* handle) { delete static_cast<Device*>(handle); }

// 0, or -1 where the range is outside the memory.
int device_write_memory(void* handle, uint64_t address, const uint8_t* data, uint64_t bytes) {
  return write_memory(*static_cast<Device*>(handle), address, data, bytes);
}

int device_read_memory(void* handle, uint64_t address, uint8_t* data, uint64_t bytes) {
  return read_memory(*static_cast<Device*>(handle), address, data, bytes);
}

// One AXI4-Lite write: its response (0 okay), or -1 where none comes.
int device_write_register(void* handle, uint32_t address, uint32_t value) {
  auto& d = *static_cast<Device*>(handle);
  auto& top = d.top;
  top.axil_awaddr = address;
  top.axil_wdata = value;
  top.axil_wstrb = 15;
  top.axil_awvalid = top.axil_wvalid = top.axil_bready = 1;
  int response = -1;
  for (int i = 0; i < kRegisterTimeout && response < 0; i++) {
    // the handshakes of this cycle, seen after it settled, decide what is offered in the next one
    top.clk = 0;
    top.eval();
    const bool aw = top.axil_awvalid && top.axil_awready, w = top.axil_wvalid && top.axil_wready;
    if (top.axil_bvalid) response = top.axil_bresp;
    d.step();
    if (aw) top.axil_awvalid = 0;
    if (w) top.axil_wvalid = 0;
  }
  top.axil_awvalid = top.axil_wvalid = top.axil_bready = 0;
  return response;
}

int device_read_register(void* handle, uint32_t address, uint32_t* value) {
  auto& d = *static_cast<Device*>(handle);
  auto& top = d.top;
  top.axil_araddr = address;
  top.axil_arvalid = top.axil_rready = 1;
  int response = -1;
  for (int i = 0; i < kRegisterTimeout && response < 0; i++) {
    top.clk = 0;
    top.eval();
    const bool ar = top.axil_arvalid && top.axil_arready;
    if (top.axil_rvalid) {
      response = top.axil_rresp;
      *value = top.axil_rdata;
    }
    d.step();
    if (ar) top.axil_arvalid = 0;
  }
  top.axil_arvalid = top.axil_rready = 0;
  return response;
}

// Runs until the interrupt or for `limit` cycles; returns 1 where the interrupt is high.
int device_run(void* handle, uint64_t limit) {
  auto& d = *static_cast<Device*>(handle);
  for (uint64_t i = 0; i < limit && !d.top.irq; i++) d.step();
  return d.top.irq;
}

uint64_t device_cycles(void* handle) { return static_cast<Device*>(handle)->cycle; }

// From now on: 0 no fault, 1 reads and 2 writes of [low, high) are answered with an error, 3 the memory never answers.
void device_fault(void* handle, uint32_t kind, uint64_t low, uint64_t high) {
  auto& d = *static_cast<Device*>(handle);
  d.fault = kind;
  d.fault_low = low;
  d.fault_high = high;
}

// The first AXI4 rule that was broken, or an empty text.
const char* device_violation(void* handle) { return static_cast<Device*>(handle)->violation.c_str(); }
}
#pragma GCC visibility pop
