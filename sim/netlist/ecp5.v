// Block RAM of an ECP5, of which yosys ships the name only. After Lattice FPGA-TN-02204, "ECP5 and ECP5-5G Memory Usage Guide",
// and yosys' techlibs/lattice/brams_map_16kd.v, which says how synthesis uses it: no output registers, no reset, chip select 0.
//
// 1,024 words of 18 bits, two bytes of 9. A port sees bits, pairs, nibbles (of the lower 8 bits of a byte), bytes or words; as
// a pair of 36 bits port A writes both words and port B reads. A read in the cycle in which the other port writes there is
// not defined: it gets the inverse of what was there, so that nothing can depend on it unnoticed.
module TANDEM_DP16KD #(
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG",
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000",
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED",
  parameter [319:0]
    INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0,
    INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0,
    INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
    INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0,
    INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0,
    INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
    INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0,
    INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  localparam PAIR = DATA_WIDTH_A == 36;
  initial begin
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000" || CLKAMUX != "CLKA"
        || CLKBMUX != "CLKB" || (DATA_WIDTH_B == 36 && !PAIR) || (PAIR && DATA_WIDTH_B < 36)) begin
      $display("DP16KD: a mode that is not modelled");
      $fatal;
    end
  end

  reg [17:0] mem [0:1023];
  wire [20479:0] init = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
  integer i;
  initial for (i = 0; i < 1024; i = i + 1) mem[i] = init[20 * i +: 18];

  wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};

  // Bits of its word that a port's address selects, and the lowest of them.
  function [17:0] mask(input integer width, input [13:0] address);
    case (width)
      1: mask = 18'h1 << first(1, address);
      2: mask = 18'h3 << first(2, address);
      4: mask = 18'hf << first(4, address);
      9: mask = 18'h1ff << first(9, address);
      default: mask = {{9{address[1]}}, {9{address[0]}}};
    endcase
  endfunction
  function [4:0] first(input integer width, input [13:0] address);
    case (width)
      1: first = (address[3] ? 9 : 0) + address[2:0];
      2: first = (address[3] ? 9 : 0) + {address[2:1], 1'b0};
      4: first = (address[3] ? 9 : 0) + {address[2], 2'b00};
      9: first = address[3] ? 9 : 0;
      default: first = 0;
    endcase
  endfunction

  // Both words of a pair are written and read as one; a single port's second word is not touched.
  wire [9:0] word_a = PAIR ? {ada[13:5], 1'b0} : ada[13:4];
  wire [9:0] word_b = PAIR ? {adb[13:5], 1'b0} : adb[13:4];
  wire write_a = CEA & WEA, write_b = CEB & WEB & !PAIR;
  wire [17:0] mask_a = write_a ? mask(PAIR ? 18 : DATA_WIDTH_A, ada) : 0;
  wire [17:0] mask_high = write_a & PAIR ? {{9{ada[3]}}, {9{ada[2]}}} : 0;
  wire [17:0] mask_b = write_b ? mask(DATA_WIDTH_B, adb) : 0;
  wire [17:0] new_a = (mem[word_a] & ~mask_a) | (dia << first(PAIR ? 18 : DATA_WIDTH_A, ada) & mask_a);
  wire [17:0] new_b = (mem[word_b] & ~mask_b) | (dib << first(DATA_WIDTH_B, adb) & mask_b);
  wire meet = word_a == word_b;
  wire [17:0] seen_a = mem[word_a] ^ (meet ? mask_b : 0), seen_b = mem[word_b] ^ (meet ? mask_a : 0);
  wire [17:0] seen_high = mem[word_b | 10'd1] ^ (meet ? mask_high : 0);

  reg [17:0] doa, dob;
  initial doa = 0;
  initial dob = 0;
  always @(posedge CLKA) begin
    if (mask_a != 0) mem[word_a] <= new_a;
    if (mask_high != 0) mem[word_a | 10'd1] <= (mem[word_a | 10'd1] & ~mask_high) | (dib & mask_high);
    if (PAIR ? CEB : CEA & (!WEA | WRITEMODE_A != "NORMAL"))
      doa <= PAIR ? seen_b : (WEA & WRITEMODE_A == "WRITETHROUGH" ? new_a : seen_a) >> first(DATA_WIDTH_A, ada);
  end
  always @(posedge CLKB) begin
    if (mask_b != 0) mem[word_b] <= new_b;
    if (CEB & (!WEB | WRITEMODE_B != "NORMAL"))
      dob <= PAIR ? seen_high : (WEB & WRITEMODE_B == "WRITETHROUGH" ? new_b : seen_b) >> first(DATA_WIDTH_B, adb);
  end
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = doa;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = dob;
endmodule
