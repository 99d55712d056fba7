"""The features of Tracker, one folder each: everything that a store can do with it."""
