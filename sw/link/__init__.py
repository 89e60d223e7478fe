"""The host's end of the link (docs/link.md): frames, transports, client, and the device made of them."""
