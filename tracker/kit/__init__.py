"""Tools that know nothing of Tracker."""
