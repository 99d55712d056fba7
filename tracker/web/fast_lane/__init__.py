"""The fast lane: answers a plain request from within its connection, before Litestar is asked."""
