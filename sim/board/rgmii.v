// What LiteEth's core has at its pins, of an ECP5 and of which yosys ships the names only. After Lattice FPGA-TN-02035, "ECP5 and
// ECP5-5G High-Speed I/O Interface"; no delays, no reset.
module IDDRX1F #(parameter GSR = "ENABLED") (input D, SCLK, RST, output reg Q0, Q1);
  reg rise, fall;
  always @(posedge SCLK) begin
    rise <= D;
    Q0 <= rise;
    Q1 <= fall;
  end
  always @(negedge SCLK) fall <= D;
endmodule

module ODDRX1F #(parameter GSR = "ENABLED") (input SCLK, RST, D0, D1, output Q);
  reg high, low;
  always @(posedge SCLK) begin
    high <= D0;
    low <= D1;
  end
  assign Q = SCLK ? high : low;
endmodule

module DELAYG #(parameter DEL_MODE = "USER_DEFINED", DEL_VALUE = 0) (input A, output Z);
  assign Z = A;
endmodule

module FD1S3BX #(parameter GSR = "ENABLED") (input D, PD, CK, output reg Q);
  always @(posedge CK or posedge PD) Q <= PD ? 1'b1 : D;
endmodule
