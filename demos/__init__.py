"""Live demos, one small file per concept, and the server that shows them beside the site."""
