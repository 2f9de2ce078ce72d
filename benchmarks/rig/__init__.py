"""What the benchmarks are made with: other tools, an nginx, a server with a known delay, a terminal."""
