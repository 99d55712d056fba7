"""The checkout: a cart becomes an order, and the order is paid for."""
