"""Keys and values of one request, layer by layer, and the KV budget that requests share."""
