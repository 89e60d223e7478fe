"""The former home of `golden.encoding.encode`."""

from golden.encoding import encode as encode
