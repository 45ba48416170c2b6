"""Small demos that work, fail in each way, or stream: what test_server.py runs the server's machinery on."""
