"""How a clip becomes the input tensor, as data: recorded in checkpoint, model file and bundle; `golden.encoding` does it."""

from __future__ import annotations

from dataclasses import dataclass, fields

LUMA = "luma"  #: grey pixels, 8 bits
RGB = "rgb"  #: red, green, blue pixels, 8 bits each
DIFFERENCE = "difference"  #: a bit where a grey pixel became brighter (ON) or darker (OFF) since the frame before
EVENTS = "events"  #: number of ON and OFF events of each pixel in each time step

STRETCH = "stretch"  #: the whole picture, whatever its aspect ratio
CROP = "crop"  #: the largest part in the middle that has the network's aspect ratio

TIME = "time"  #: all time steps are equally long
NUMBER = "number"  #: all time steps have equally many events

_CHANNELS = {LUMA: 1, RGB: 3, DIFFERENCE: 2, EVENTS: 2}
_CHOICES = {"kind": tuple(_CHANNELS), "fit": (STRETCH, CROP), "bins": (TIME, NUMBER)}
_LEAST = {"stride": 0, "threshold": 0, "bits": 0, "sensor_height": 0, "sensor_width": 0}  # of numbers; 1 for all others
_ONLY = {"threshold": DIFFERENCE, **dict.fromkeys(("bins", "bits", "sensor_height", "sensor_width"), EVENTS)}


class EncodingError(ValueError):
    """An encoding that makes no sense."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How video or events become the input tensor; recorded with the weights so that host and training use the same.

    Channel of the input tensor: ``((frame * colours + colour) * patch + row) * patch + column``. ``frame`` 0 is the
    current one, 1 the previous one (before the first frame comes the first frame again). ``colour`` is 0 for luma, red,
    green, blue for rgb, ON and OFF for differences and events.

    Parameters
    ----------
    kind : str
        ``luma``, ``rgb``, ``difference`` or ``events``.
    height, width : int
        Size in pixels to which a picture (or the sensor) is scaled.
    timesteps : int
        T, frames that are taken of a clip, or bins of events.
    frames : int
        2 where the previous frame is seen, too (luma and rgb only), else 1.
    patch : int
        Squares of ``patch`` x ``patch`` pixels become channels.
    fit : str
        ``stretch`` or ``crop``: which part of the picture is scaled.
    stride : int
        0: the frames are taken uniformly out of the whole clip. Else every ``stride``-th around the clip's middle.
    threshold : int
        Of a difference: the change of luma that makes a bit, at least 1.
    bins : str
        Of events: ``time`` or ``number``.
    bits : int
        Of events: counts saturate at ``2**bits - 1``.
    sensor_height, sensor_width : int
        Of events: pixels of the sensor.

    Raises
    ------
    EncodingError
        If a field has another type or value, or belongs to another kind.
    """

    kind: str = LUMA
    height: int
    width: int
    timesteps: int
    frames: int
    patch: int
    fit: str = STRETCH
    stride: int = 0
    threshold: int = 0
    bins: str = TIME
    bits: int = 0
    sensor_height: int = 0
    sensor_width: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in _CHOICES:
                if value not in _CHOICES[f.name]:
                    raise EncodingError(f"encoding: {f.name} is {value!r}, not one of {', '.join(_CHOICES[f.name])}")
            elif type(value) is not int or value < _LEAST.get(f.name, 1):
                raise EncodingError(f"encoding: {f.name} is {value!r}, not a number from {_LEAST.get(f.name, 1)} up")
            if self.kind != _ONLY.get(f.name, self.kind) and value != f.default:
                raise EncodingError(f"encoding: {f.name} is {value!r}, but only {_ONLY[f.name]} has it, not {self.kind}")
        if self.height % self.patch or self.width % self.patch:
            raise EncodingError(f"encoding: {self.height} x {self.width} pixels are no whole patches of {self.patch}")
        if self.frames > (2 if self.kind in (LUMA, RGB) else 1):
            raise EncodingError(f"encoding: frames is {self.frames}; luma and rgb take 1 or 2, others 1")
        if self.kind == DIFFERENCE and not 1 <= self.threshold <= 255:
            raise EncodingError(f"encoding: threshold is {self.threshold}, not 1..255")
        if self.kind == EVENTS and not (1 <= self.bits <= 8 and self.sensor_height and self.sensor_width):
            raise EncodingError(f"encoding: events need 1..8 bits and a sensor size, not {self.bits} bits and "
                                f"{self.sensor_height} x {self.sensor_width} pixels")
        if self.kind == EVENTS and self.stride:
            raise EncodingError(f"encoding: stride is {self.stride}, but events have no frames to choose from")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor, [T, H, W, C]."""
        channels = self.frames * _CHANNELS[self.kind] * self.patch**2
        return (self.timesteps, self.height // self.patch, self.width // self.patch, channels)

    @property
    def planes(self) -> int:
        """Bit planes of the input tensor: its values are 0 to 2**planes - 1."""
        return {DIFFERENCE: 1, EVENTS: self.bits}.get(self.kind, 8)
