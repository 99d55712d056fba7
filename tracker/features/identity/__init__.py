"""Identity: finds out which customer sends a request, and logs customers in and out.

Read it top down: `routes` (HTTP) ask `service`, which is either `openid`, the provider's customers, or says
what to set. `openid` verifies `tokens` with the provider's `provider_keys` and keeps a browser's login and session in
sealed cookies (`session`); `client` speaks to the provider, and `provider_cache` keeps its answers. The modules that
need joserfc, cryptography or httpx are imported only where a provider is set: it takes 16 MB and 0.15 s.
"""
