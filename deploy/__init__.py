"""What runs Halcyon: the real parts of a machine without Docker (:mod:`deploy.local`) and what production needs."""
