"""The inside of a network as numbers: a step worked out, units as smoothers, and how near the whole is to smoothing."""
