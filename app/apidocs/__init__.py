"""What the service tells about its own interface: the OpenAPI document, and a page made from it."""
