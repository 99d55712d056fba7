"""HTTP as all features have it in common: connection, fast lane, middleware, problems, and the API's document."""
