"""Widgets: the graph editor and live training."""
