"""Every item of a cart is reserved at an external service that may take its time."""
