"""An emulator of the hosted v2 detection API on loopback, and a shaped link in front of it. No state."""
