"""The catalog: the products that the store sells."""
