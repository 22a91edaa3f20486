"""Full runs on real data: presets, feeding, training, planning, measuring."""
