"""Pictures of what was seen, by rule, in a folder that never outgrows its cap. Read `taker` first. No state."""
