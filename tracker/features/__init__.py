"""What a store can do with Tracker, a folder for each feature."""
