"""The toy world, its judge and the recipes that train everything in it."""
