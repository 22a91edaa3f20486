"""What others have trained: their files, read safely, in our modules."""
