"""What `hw.link.slow_link` does, as the program of its processor: the same as `hw.link.machine` and `hw.link.cobs`."""

from __future__ import annotations

from golden.spec import link as protocol
from golden.spec.link import CRC_BYTES, CRC_RESIDUE, DATA_BYTES, FRAME_BYTES, HEADER_BYTES, REQUESTS, SPARSE_BYTES, Kind, Status
from golden.spec.registers import ADDRESS_BITS
from hw.link import processor
from hw.link.assembler import assemble
from hw.link.crc import table

#: Ports that are read, and that are written.
LINE, DATA = 0, 1
PORTS = {
    "line": LINE, "data": DATA, "address0": 2, "address1": 3, "address2": 4, "low": 5, "read_register": 6, "write_register": 7,
    "read_memory": 8, "write_memory": 9, "done": 10, "active": 11,
}
#: Levels that are looked at: a byte has come, one is being sent, registers or memory have answered, with an error; the interrupt.
CONDITIONS = ("came", "sending", "answered", "error", "irq")
WAIT_CYCLES = 18  #: of the loop in which a millisecond passes
#: Where in data the buffer of two pages lies, what is copied to an answer, and the pages of the CRC's table.
PAGE0, PAGE1, FIXED, CRC = 0x100, 0x200, 0x300, 0x400
IDENTITY_AT = HEADER_BYTES + 1  #: in its page, as in an answer
LEAST, MOST, MOST_HIGH = 64, 80, 96  #: lengths of bodies by kind, in the page of what is fixed

# The frame is put into the buffer from byte 1 on, so that an answer's status has room: both bodies begin at byte 4.
TEXT = """
        ld #0
receive:
        ld #0
        out active
        st at_high
        st broken
        st left
        st inside
        st zero
        ld #1
        st at
next:   jncame next
        in line
        jz ended
        st value
        ld left
        jz code
        sub #1
        st left
        jmp deliver
code:   ld zero             ; a zero ends the block before, unless that was full
        st due
        ld value
        sub #255
        st zero
        ld value
        sub #1
        st left
        ld #1
        st inside
        ld due
        jz next
        ld #0
        st value
deliver:
        ld at
        xor #TOO_LONG
        jnz keep
        ld at_high
        jz keep
        st broken
        jmp next
keep:   call put
        jmp next

ended:  ld inside           ; an empty frame is none
        jz receive
        out active
        ld left
        jz whole
        st broken
whole:  ld at
        st end
        ld at_high
        st end_high
        ld #1
        st at
        ld #0
        st at_high
        st answering

checksum:                   ; of the buffer from `at` to `end`
        ld #255
        st crc0
        st crc1
        st crc2
        st crc3
sum:    ld at
        xor end
        jnz more
        ld at_high
        xor end_high
        jz summed
more:   call get
        ld tail1
        st tail0
        ld tail2
        st tail1
        ld tail3
        st tail2
        ld value
        st tail3
        xor crc0
        st crc_index
        ldx crc_index
        ld crc_table0,x
        xor crc1
        st crc0
        ld crc_table1,x
        xor crc2
        st crc1
        ld crc_table2,x
        xor crc3
        st crc2
        ld crc_table3,x
        st crc3
        jmp sum
summed: ld answering
        jnz seal

        ld broken           ; is it a request, and whose turn is it?
        jnz damaged
        ld end
        sub #BEFORE_BODY
        st body
        ld end_high
        sbc #0
        st body_high
        jnc damaged
        ld crc0
        xor #RESIDUE0
        jnz damaged
        ld crc1
        xor #RESIDUE1
        jnz damaged
        ld crc2
        xor #RESIDUE2
        jnz damaged
        ld crc3
        xor #RESIDUE3
        jnz damaged
        ld buffer+1
        add buffer+1
        jc receive          ; somebody's answer came back
        ld buffer+1
        jz unknown
        ld #LAST_KIND
        sub buffer+1
        jnc unknown
        ld buffer+1
        add #MOST
        st index
        ldx index
        ld fixed,x
        st most
        ld index
        add #16
        st index
        ldx index
        ld fixed,x
        st most_high
        ld index
        sub #32
        st index
        ldx index
        ld body
        sub fixed,x
        ld body_high
        sbc #0
        jnc misfit
        ld most
        sub body
        ld most_high
        sbc body_high
        jnc misfit
        ld buffer+1
        xor #IDENTIFY
        jz accept
        ld opened
        jz unordered
        ld buffer+2
        xor last
        jnz follows
        ld buffer+3
        xor last_high
        jnz follows
        ld tail0
        xor last_tail0
        jnz unordered
        ld tail1
        xor last_tail1
        jnz unordered
        ld tail2
        xor last_tail2
        jnz unordered
        ld tail3
        xor last_tail3
        jnz unordered
        ld #1
        st again
        jmp accept
follows:
        ld last
        add #1
        st index
        ld last_high
        adc #0
        st index1
        ld buffer+2
        xor index
        jnz unordered
        ld buffer+3
        xor index1
        jnz unordered
        ld #0
        st again

accept: ld buffer+2
        st last
        ld buffer+3
        st last_high
        ld tail0
        st last_tail0
        ld tail1
        st last_tail1
        ld tail2
        st last_tail2
        ld tail3
        st last_tail3
        ld #1
        st opened
        ld buffer+1         ; kinds from 1 up
        sub #1
        jz identify
        sub #1
        jz read_registers
        sub #1
        jz write_registers
        sub #1
        jz read_memory
        sub #1
        jz write_memory
        sub #1
        jz wait
        sub #1
        jz echo
        ld #1               ; a sparse write
        st sparse
        jmp writes_memory

identify:
        ld #IDENTITY_AT
copy:   st index
        ldx index
        ld fixed,x
        st buffer,x
        ld index
        add #1
        st index
        xor #IDENTITY_END
        jz identified
        ld index
        jmp copy
identified:
        st length_high
        ld #IDENTITY_BYTES
        st length
        jmp right
echo:   ld body
        st length
        ld body_high
        st length_high
        jmp right

wait:   ld buffer+4
        st rest
        ld buffer+5
        st rest_high
millisecond:
        ld rest
        jnz tick
        ld rest_high
        jz waited
tick:   ld #WAIT_LOW
        st index
        ld #WAIT_HIGH
        st index1
ticks:  jirq waited
        jcame waited
        ld index
        sub #1
        st index
        ld index1
        sbc #0
        st index1
        jc ticks
        ld rest
        sub #1
        st rest
        ld rest_high
        sbc #0
        st rest_high
        jmp millisecond
waited: ld #0
        jnirq level
        ld #1
level:  st buffer+4
        ld #0
        st length_high
        ld #1
        st length
        jmp right

read_registers:
        st writes
        jmp registers
write_registers:
        ld again
        jnz repeat
        ld #1
        st writes
        ld #0
registers:
        st sparse
        st size2
        ld #3
        st align
        ld #1
        st size1
        jmp place
read_memory:
        st writes
        st sparse
        jmp memory
write_memory:
        st sparse
writes_memory:
        ld #1
        st writes
memory: ld #ALIGN
        st align
        ld #SIZE1
        st size1
        ld #SIZE2
        st size2

place:  ld buffer+4
        st place0
        ld buffer+5
        st place1
        ld buffer+6
        st place2
        ld #DATA_LOW
        st most
        ld #DATA_HIGH
        st most_high
        ld #0
        st failed
        st bit
        st at_high
        ld end              ; behind the body's last byte
        sub #4
        st limit
        ld end_high
        sbc #0
        st limit_high
        ld #10
        st at
        ld sparse
        jz dense
        ld #SPARSE_LOW
        st most
        ld #SPARSE_HIGH
        st most_high
        jmp told
dense:  ld writes
        jz reads
        ld #8
        st at
        ld body
        sub #4
        st rest
        ld body_high
        sbc #0
        st rest_high
        jmp sized
reads:  ld #4
        st at
told:   ld buffer+8
        st rest
        ld buffer+9
        st rest_high
sized:  ld place0
        and align
        jnz outside
        ld rest
        and align
        jnz outside
        ld most
        sub rest
        ld most_high
        sbc rest_high
        jnc outside
        ld rest
        jnz some
        ld rest_high
        jz outside
some:   ld buffer+7         ; there is no memory beyond 16 MB
        jnz outside
        ld place0
        add rest
        st index
        ld place1
        adc rest_high
        st index1
        ld place2
        adc #0
        st index2
        jc outside
        ld #0
        sub index
        ld size1
        sbc index1
        ld size2
        sbc index2
        jnc outside
        ld rest
        st length
        ld rest_high
        st length_high
        ld writes
        jz byte
        ld #0
        st length
        st length_high

byte:   ld place0
        out address0
        ld place1
        out address1
        ld place2
        out address2
        ld writes
        jnz given
        ld place0           ; a word is read with its first byte, and given back with its last
        and align
        jnz here
        ld align
        and #2
        jz from_memory
        out read_register
        jmp reading
from_memory:
        out read_memory
reading:
        jnanswered reading
        jerror failure
here:   in data
        st value
        call put
        ld place0
        and align
        xor align
        jnz onward
        out done
        jmp onward

given:  ld sparse
        jz dense_byte
        ld bit
        jnz masked
        call take
        st mask
        ld #1
        st bit
masked: ld mask
        and bit
        st value
        jz shifted
        call take
shifted:
        ld bit
        add bit
        st bit
        jmp taken
dense_byte:
        call take
taken:  ld align
        and #2
        jz to_memory
        ld value            ; registers are written byte by byte
        out write_register
writing:
        jnanswered writing
        jnerror register_written
        ld #1
        st failed
register_written:
        out done
        ld place0
        and #3
        xor #3
        jnz onward
        ld failed
        jz onward
        jmp bus
to_memory:
        ld place0
        and #1
        jnz word
        ld value
        out low
        jmp onward
word:   ld value
        out write_memory
storing:
        jnanswered storing
        jerror failure
        out done
onward: ld place0
        add #1
        st place0
        ld place1
        adc #0
        st place1
        ld place2
        adc #0
        st place2
        ld rest
        sub #1
        st rest
        ld rest_high
        sbc #0
        st rest_high
        ld rest
        jnz byte
        ld rest_high
        jnz byte
right:  ld #OK
        st last_status
        jmp answer

failure:
        out done
bus:    ld #BUS
        jmp carried_out
outside:
        ld #RANGE
carried_out:
        st last_status
        jmp refuse
repeat: ld last_status
        jmp refuse
unordered:
        ld #SEQUENCE
        jmp refuse
misfit: ld #LENGTH
        jmp refuse
unknown:
        ld #UNKNOWN
        jmp refuse
damaged:
        ld #0
        st buffer+1
        st buffer+2
        st buffer+3
        ld #DAMAGED
refuse: st index
        ld #0
        st length
        st length_high
        ld index

answer: st index
        ld buffer+1
        add #128
        st buffer+0
        ld buffer+2
        st buffer+1
        ld buffer+3
        st buffer+2
        ld index
        st buffer+3
        ld length
        add #4
        st end
        ld length_high
        adc #0
        st end_high
        ld #0
        st at
        st at_high
        ld #1
        st answering
        jmp checksum
seal:   ldn crc0
        st value
        call put
        ldn crc1
        st value
        call put
        ldn crc2
        st value
        call put
        ldn crc3
        st value
        call put
        ld at
        st end
        ld at_high
        st end_high
        ld #0
        st at
        st at_high

block:  ld at               ; how long is it?
        st block_at
        ld at_high
        st block_high
        ld #1
        st count
scan:   ld at
        xor end
        jnz longer
        ld at_high
        xor end_high
        jnz longer
        ld #1
        st final
        jmp emit
longer: call get
        jz at_zero
        ld count
        add #1
        st count
        xor #255
        jnz scan
at_zero:
        ld #0
        st final
emit:   ld count
        out line
        st left
counted:
        jsending counted
        ld block_at
        st at
        ld block_high
        st at_high
bytes:  ld left
        sub #1
        st left
        jz behind
        call get
        out line
sent:   jsending sent
        jmp bytes
behind: ld final
        jnz over
        ld count
        xor #255
        jz full
        call get            ; the zero
        jmp block
full:   ld at
        xor end
        jnz block
        ld at_high
        xor end_high
        jnz block
over:   ld #0
        out line
closing:
        jsending closing
        jmp receive

take:   ld at               ; the body's next byte, behind its end 0
        xor limit
        jnz get
        ld at_high
        xor limit_high
        jnz get
        st value
        ret
get:    ldx at
        ld at_high
        jnz get_high
        ld buffer,x
        st value
        jmp forward
get_high:
        ld behind,x
        st value
        jmp forward
put:    ldx at
        ld at_high
        jnz put_high
        ld value
        st buffer,x
        jmp forward
put_high:
        ld value
        st behind,x
forward:
        ld at
        add #1
        st at
        ld at_high
        adc #0
        st at_high
        ld value
        ret
"""


def firmware(identity: bytes, memory_bytes: int, clock: int) -> tuple[list[int], bytes]:
    """Program and data of the processor.

    Parameters
    ----------
    identity : bytes
        Answer to IDENTIFY.
    memory_bytes : int
        Size of memory.
    clock : int
        Cycles per second.
    """
    assert memory_bytes % 256 == 0 and memory_bytes < 1 << 24, f"{memory_bytes} bytes of memory"
    assert FRAME_BYTES + 1 <= PAGE1 + 256 - PAGE0
    data = bytearray(processor.DATA_BYTES)
    data[FIXED + IDENTITY_AT:FIXED + IDENTITY_AT + len(identity)] = identity
    assert IDENTITY_AT + len(identity) <= LEAST
    for kind, request in REQUESTS.items():
        least, most = protocol.size(request.fields)
        data[FIXED + LEAST + kind], data[FIXED + MOST + kind], data[FIXED + MOST_HIGH + kind] = least, most & 0xFF, most >> 8
    for byte in range(4):
        data[CRC + 256 * byte:CRC + 256 * (byte + 1)] = bytes(x >> 8 * byte & 0xFF for x in table())
    ticks = max(clock // 1000 // WAIT_CYCLES - 1, 0)
    numbers = {
        "TOO_LONG": FRAME_BYTES + 1, "BEFORE_BODY": 1 + HEADER_BYTES + CRC_BYTES, "LAST_KIND": max(Kind), "MOST": MOST,
        "IDENTIFY": Kind.IDENTIFY, "IDENTITY_AT": IDENTITY_AT, "IDENTITY_BYTES": len(identity),
        "IDENTITY_END": IDENTITY_AT + len(identity), "WAIT_LOW": ticks, "WAIT_HIGH": ticks >> 8, "ALIGN": 1,
        "SIZE1": memory_bytes >> 8, "SIZE2": memory_bytes >> 16, "DATA_LOW": DATA_BYTES, "DATA_HIGH": DATA_BYTES >> 8,
        "SPARSE_LOW": SPARSE_BYTES, "SPARSE_HIGH": SPARSE_BYTES >> 8,
        **{f"RESIDUE{i}": CRC_RESIDUE >> 8 * i for i in range(4)}, **{status.name: int(status) for status in Status},
    }
    assert ADDRESS_BITS == 8 and max(Kind) < 16
    places = {"buffer": PAGE0, "behind": PAGE1, "fixed": FIXED, **{f"crc_table{i}": CRC + 256 * i for i in range(4)}}
    conditions = {name: processor.OUTSIDE + i for i, name in enumerate(CONDITIONS)}
    return assemble(TEXT, {**numbers, **places, **PORTS}, conditions, data), bytes(data)
