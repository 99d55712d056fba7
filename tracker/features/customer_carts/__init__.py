"""The carts of customers who are logged in."""
