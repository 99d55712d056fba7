"""Warranties that retail stores sell: created in groups, shown as a list, archived one object each."""
