"""Commands from afar, over MQTT: heard, checked, carried out, answered and written down."""
