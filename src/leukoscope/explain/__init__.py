"""Why the network says so: attribution maps, and whether they are faithful."""
