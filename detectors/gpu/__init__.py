"""GPUs that are hot, throttled, full or broken."""
